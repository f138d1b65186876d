"""What collectives send is noted while a report is traced, and only then."""

import pytest

from jaxdist import _traffic

LEAF = _traffic.Content("leaf", 6, (2,), "c", dense=8.0)
OTHER = _traffic.Content("other", 2, padding=0.5)


def shipments(log):
    return [row for sent in log.values() for row in sent.rows.values()]


def test_notes_are_taken_while_somebody_listens():
    _traffic.note("psum", 8.0, "data")
    with _traffic.recording() as outer:
        _traffic.note("psum", 8.0, "data")
        with _traffic.recording() as inner:
            _traffic.note("gather", 4.0, "data")
        assert [row.nbytes for row in shipments(inner)] == [4.0]
    _traffic.note("psum", 8.0, "data")
    assert [row.nbytes for row in shipments(outer)] == [8.0]


def test_what_is_traced_twice_counts_once():
    with _traffic.recording() as log:
        for _ in range(2):
            with _traffic.sender("a", "first"):
                _traffic.note("psum", 8.0, "data")
        with _traffic.sender("b", "second"):
            _traffic.note("psum", 8.0, "data")
    assert [row.transformation for row in shipments(log)] == ["first", "second"]


def test_a_message_is_shared_out_by_what_it_holds():
    with _traffic.recording() as log, _traffic.sender("a", "t"):
        with _traffic.contents([LEAF, OTHER]):
            _traffic.note("gather", 80.0, "data")
        with _traffic.contents([LEAF]):
            _traffic.note("scatter", 1.0, "data")
    assert shipments(log) == [
        _traffic.Shipment("t", "leaf", (2,), "c", "gather", 61.0, 0.0, 8.0, "data"),
        _traffic.Shipment("t", "other", (), "-", "gather", 20.0, 10.0, 0.0, "data"),
    ]


def test_what_nobody_names_is_still_counted():
    with _traffic.recording() as log:
        _traffic.note("psum", 8.0, "data")
    assert shipments(log)[0].leaf == "(psum)"


def test_what_is_sent_sometimes_counts_as_a_part():
    with _traffic.recording() as log, _traffic.every(4), _traffic.every(2):
        _traffic.note("psum", 8.0, "data")
    assert shipments(log)[0].nbytes == 1.0


def test_a_worker_alone_sends_nothing():
    with _traffic.recording() as log:
        with _traffic.contents([OTHER]):
            _traffic.note("psum", 0.0, "data")
    assert shipments(log) == []


def test_each_axis_has_a_row_of_its_own():
    with _traffic.recording() as log, _traffic.contents([LEAF]):
        _traffic.note("psum", 8.0, "data")
        _traffic.note("psum", 4.0, ("pod", "data"))
    found = {row.axis: row.nbytes for row in shipments(log)}
    assert found == {"data": 8.0, "pod,data": 4.0}


def test_rates():
    assert _traffic.all_reduce_bytes(100, 4) == pytest.approx(150)
    assert _traffic.all_gather_bytes(100, 4) == 300
    assert _traffic.all_to_all_bytes(100, 4) == 75
    assert _traffic.all_reduce_bytes(100, 1) == 0


def test_of_several_ways_each_counts_as_often_as_it_is_taken():
    with _traffic.recording() as log, _traffic.sender("a", "t"):
        for name, share in (("one", 0.25), ("other", 0.75), ("never", 0)):
            way = LEAF._replace(leaf=name)
            with _traffic.one_way(share), _traffic.contents([way]):
                _traffic.note("gather", 80.0, "data")
    found = {row.leaf: (row.nbytes, row.dense) for row in shipments(log)}
    assert found == {"one": (20.0, 2.0), "other": (60.0, 6.0)}
