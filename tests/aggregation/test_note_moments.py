"""Noted moments are those of what arrives, on every route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxdist as jd
from jaxdist.workers import _moments
from tests import harness

RNG = np.random.default_rng(0)
ROWS = {
    "w": RNG.standard_normal((8, 5, 7)).astype(np.float32),
    "b": RNG.standard_normal((8, 3)).astype(np.float32) + 1,
}
WEIGHT = np.float32([1, 0, 2, 3, 1, 1, 0, 4])


def expected(rows, weight=None):
    """Return both moments in float64."""
    flat = np.concatenate([x.reshape(8, -1) for x in rows.values()], axis=1)
    flat = flat.astype(np.float64)
    weight = np.ones(8) if weight is None else weight
    mean = np.average(flat, axis=0, weights=weight)
    square = np.average((flat**2).sum(1), weights=weight)
    return square, (mean**2).sum(), (weight > 0).sum()


def noted(tx, backend="shard_map", rows=ROWS, **extra):
    def worker(gradient, extra):
        with _moments.asked_for() as found:
            tx.update(gradient, tx.init(gradient), gradient, **extra)
        (moments,) = found
        return moments[1:]

    return harness.run(worker, backend, jax.tree.map(jnp.asarray, rows), extra)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_moments_of_a_dense_mean(backend):
    found = noted(jd.aggregate(harness.AXIS), backend)
    for value, wanted in zip(found, expected(ROWS), strict=True):
        np.testing.assert_allclose(value, np.full(8, wanted), rtol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [
        jd.aggregate(harness.AXIS, route="gather"),
        jd.aggregate(
            harness.AXIS, route="scatter", downlink=jd.compression.scaled_sign()
        ),
        jd.aggregate(harness.AXIS, jd.rules.krum(2), route="scatter"),
        jd.aggregate(harness.AXIS, jd.rules.median(), route="gather"),
        jd.aggregate(harness.AXIS, metrics=True),
    ],
    ids=["gather", "scatter", "krum", "median", "metrics"],
)
def test_rules_and_routes_change_nothing(tx):
    """A worker of weight 0 may hold anything."""
    rows = jax.tree.map(np.copy, ROWS)
    rows["w"][1] = np.nan
    found = noted(tx, rows=rows, weight=jnp.asarray(WEIGHT))
    for value, wanted in zip(found, expected(ROWS, WEIGHT), strict=True):
        np.testing.assert_allclose(value, np.full(8, wanted), rtol=1e-5)


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_rows_are_those_that_a_compressor_left(route):
    compressor = jd.compression.top_k(0.3)
    left = {
        name: np.stack([harness.roundtrip(compressor, jnp.asarray(r))[0] for r in rows])
        for name, rows in ROWS.items()
    }
    tx = jd.aggregate(harness.AXIS, compressor=compressor, route=route)
    if route == "gather":  # on scatter each of the parts keeps its largest
        for value, wanted in zip(noted(tx), expected(left), strict=True):
            np.testing.assert_allclose(value, np.full(8, wanted), rtol=1e-5)
    rule = jd.aggregate(harness.AXIS, jd.rules.krum(1), compressor, route)
    harness.assert_trees_close(noted(tx), noted(rule))


def test_what_is_sharded_over_a_model_counts_once():
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    tx = jd.aggregate("data", model_axis_name="model")

    def worker(sharded, common):
        gradient = {"w": sharded[0], "b": common[0]}
        with _moments.asked_for() as found:
            tx.update(gradient, tx.init(gradient), gradient)
        return found[0].mean_square, found[0].square_of_mean

    w, b = jnp.asarray(ROWS["w"][:4, :, :6]), jnp.asarray(ROWS["b"][:4])
    specs = (PartitionSpec("data", None, "model"), PartitionSpec("data"))
    mapped = jax.shard_map(worker, mesh=mesh, in_specs=specs, out_specs=PartitionSpec())
    flat = np.concatenate([w.reshape(4, -1), b], axis=1)
    square, of_mean = (flat**2).sum(1).mean(), (flat.mean(0) ** 2).sum()
    np.testing.assert_allclose(jax.jit(mapped)(w, b), (square, of_mean), rtol=1e-5)


@pytest.mark.parametrize(
    ("compressor", "said"),
    [
        (jd.compression.ef21(jd.compression.top_k(0.5)), "`compressor` ef21"),
        (jd.compression.power_sgd(1), "`compressor` power_sgd"),
        (
            jd.compression.by_step(
                {0: jd.compression.identity(), 3: jd.compression.qsgd(8)}
            ),
            "changes with the step",
        ),
    ],
)
def test_what_cannot_be_measured_says_so(compressor, said):
    with pytest.raises(ValueError, match=said):
        noted(jd.aggregate(harness.AXIS, compressor=compressor), "vmap")


def test_nobody_asks_nothing_is_computed():
    tx = jd.aggregate(harness.AXIS)
    gradient = {"w": jnp.ones((8, 3))}
    program = harness.mapped(lambda g: tx.update(g, tx.init(g))[0], "shard_map")
    assert harness.device_program(program, gradient).count("psum") == 1
