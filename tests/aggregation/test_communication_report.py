"""The report: a table for people, totals for programs, axes of any name."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist as jd

PARAMS = {
    "bias": jnp.zeros(10),
    "kernel": jax.ShapeDtypeStruct((100, 100), jnp.float32),
}


@pytest.mark.usefixtures("standard_promotion")
def test_table():
    tx = optax.chain(
        jd.aggregate(
            "data", compressor=jd.compression.by_leaf(jd.compression.top_k(0.01))
        ),
        optax.adam(1e-3),
    )
    report = jd.communication_report(tx, PARAMS, 8)
    lines = str(report).splitlines()
    assert lines[0].split() == [
        *("transformation", "leaves", "shape", "compressor", "route"),
        *("sent", "padding", "dense", "ratio"),
    ]
    assert lines[2].split() == [
        *("aggregate('data')", "bias", "10", "identity()", "psum"),
        *("70", "B", "0", "B", "70", "B", "1.0x"),
    ]
    assert lines[3].split() == [
        *("aggregate('data')", "kernel", "100x100", "top_k(0.01)", "gather"),
        *("4.2", "kB", "0", "B", "70", "kB", "16.7x"),
    ]
    total = ["total", "4.27", "kB", "0", "B", "70.1", "kB", "16.4x"]
    assert lines[5].split() == total
    assert report.total_nbytes == 4270
    assert report.dense_nbytes == 70_070
    assert report.ratio == pytest.approx(70_070 / 4270)


def test_two_levels_over_two_axes():
    tx = optax.chain(
        jd.aggregate("ici"),
        jd.aggregate("dcn", compressor=jd.compression.scaled_sign()),
    )
    report = jd.communication_report(tx, PARAMS, {"ici": 4, "dcn": 2})
    kernel = [s for s in report.shipments if s.leaf == "kernel"]
    assert [s.nbytes for s in kernel] == [2 * 3 / 4 * 40_000, 1254]
    with pytest.raises(
        ValueError, match="`num_workers` must give the size of each axis"
    ):
        jd.communication_report(tx, PARAMS, 8)
    with pytest.raises(ValueError, match="size of axis 'dcn'"):
        jd.communication_report(tx, PARAMS, {"ici": 4})


def test_a_tuple_of_axes():
    tx = jd.aggregate(("pod", "device"))
    report = jd.communication_report(tx, PARAMS, {"pod": 2, "device": 4})
    assert report.total_nbytes == report.dense_nbytes == 2 * 7 / 8 * 40_040


def test_an_optimizer_that_sends_nothing():
    report = jd.communication_report(optax.sgd(0.1), PARAMS, 8)
    assert report.total_nbytes == 0
    assert report.shipments == ()
    assert "total" in str(report)


@pytest.mark.usefixtures("standard_promotion")
def test_through_wrappers_of_optax():
    inner = jd.aggregate("data", compressor=jd.compression.scaled_sign())
    for tx in (
        optax.named_chain(("a", inner), ("b", optax.sgd(0.1))),
        optax.partition({"x": inner}, {"bias": "x", "kernel": "x"}),
        optax.MultiSteps(inner, 2).gradient_transformation(),
    ):
        report = jd.communication_report(tx, PARAMS, 8)
        assert len(report.shipments) == 2


def test_num_workers_is_checked():
    with pytest.raises(
        ValueError, match="`num_workers` must be an integer >= 1, got 0"
    ):
        jd.communication_report(optax.sgd(0.1), PARAMS, 0)
