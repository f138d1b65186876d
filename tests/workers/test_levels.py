"""Who encloses an aggregation hears of it."""

from jaxdist.workers import _levels


def test_an_aggregation_is_noted_by_what_is_next_around_it():
    assert not _levels.is_skipped()
    with _levels.note_aggregations() as outer:
        assert not outer.has_met
        with _levels.note_aggregations(are_skipped=True) as inner:
            assert _levels.is_skipped()
        assert inner.has_met and not outer.has_met
        assert not _levels.is_skipped()
        assert outer.has_met
