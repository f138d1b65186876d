"""Shipments are noted while somebody listens, and only then."""

from jaxdist import _traffic

SHIPMENT = _traffic.Shipment("t", "leaf", (2,), "c", "psum", 8.0, 0.0, 8.0)


def test_recording():
    _traffic.record("a", SHIPMENT)
    with _traffic.recording() as outer:
        _traffic.record("a", SHIPMENT)
        with _traffic.recording() as inner:
            _traffic.record("b", SHIPMENT)
        assert list(inner.values()) == [SHIPMENT]
    _traffic.record("a", SHIPMENT)
    assert list(outer.values()) == [SHIPMENT]


def test_what_is_traced_twice_counts_once():
    with _traffic.recording() as log:
        _traffic.record("a", SHIPMENT)
        _traffic.record("a", SHIPMENT)
        _traffic.record("b", SHIPMENT)
        _traffic.record("a", SHIPMENT._replace(leaf="other"))
    assert len(log) == 3


def test_rates():
    assert _traffic.all_reduce_bytes(100, 4) == 150
    assert _traffic.all_gather_bytes(100, 4) == 300
    assert _traffic.all_to_all_bytes(100, 4) == 75
    assert _traffic.all_reduce_bytes(100, 1) == 0
