"""Specs: sharded where workers differ, replicated elsewhere, an error where neither."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import PartitionSpec as P

import jaxdist as jd

PARAMS = {"w": jnp.zeros((3, 4))}
AGGREGATE = jd.aggregate(
    "data", compressor=jd.compression.error_feedback(jd.compression.top_k(0.1))
)


def test_moments_are_stored_once_and_residuals_sharded():
    specs = jd.state_specs(optax.chain(AGGREGATE, optax.adam(1e-3)), PARAMS, "data")
    assert specs[0].uplink.inner_state["w"].residual == P("data")
    assert specs[0].count == P()
    assert specs[0].key == ()  # nothing is drawn
    assert specs[1][0].mu["w"] == P()


def test_several_axes():
    tx = jd.per_worker(("pod", "device"), optax.trace(0.9))
    specs = jd.state_specs(tx, PARAMS, ("pod", "device"))
    assert specs.inner_state.trace["w"] == P(("pod", "device"))


def test_shapes_are_enough():
    abstract = jax.eval_shape(lambda: PARAMS)
    tx = jd.aggregate(
        "data", downlink=jd.compression.error_feedback(jd.compression.top_k(0.1))
    )
    specs = jd.state_specs(tx, abstract, "data")
    assert specs.downlink.inner_state["w"].residual == P("data")


@pytest.mark.parametrize(
    ("wrap", "advice"),
    [
        (
            lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
            "optax.MultiSteps cannot enclose.*`micro_batches` of a recipe",
        ),
        (
            lambda tx: optax.apply_if_finite(tx, 3),
            "optax.apply_if_finite cannot enclose.*Wrap only what follows",
        ),
    ],
)
def test_wrappers_that_would_tear_workers_apart(wrap, advice):
    around = optax.chain(optax.clip(1.0), wrap(optax.chain(AGGREGATE, optax.sgd(0.1))))
    with pytest.raises(ValueError, match=advice):
        jd.state_specs(around, PARAMS, "data")
    behind = optax.chain(AGGREGATE, wrap(optax.sgd(0.1)))
    jd.state_specs(behind, PARAMS, "data")


def test_each_level_of_a_network_has_its_own_axis():
    levels = ("dcn", "ici")
    mesh = jax.make_mesh((2, 4), levels)
    feedback = jd.compression.error_feedback(jd.compression.scaled_sign())
    tx = optax.chain(
        jd.aggregate("ici", compressor=feedback),
        jd.aggregate("dcn", compressor=feedback),
    )
    inside, outside = jd.state_specs(tx, PARAMS, levels, mesh)
    assert jax.tree.leaves(inside.uplink)[0] == P(levels)
    assert jax.tree.leaves(outside.uplink)[0] == P("dcn")
    assert inside.count == outside.count == P()


def test_wrappers_are_refused_on_every_level():
    mesh = jax.make_mesh((2, 4), ("dcn", "ici"))
    tx = optax.apply_if_finite(jd.aggregate(("dcn", "ici")), 3)
    with pytest.raises(ValueError, match="cannot enclose"):
        jd.init(tx, PARAMS, mesh, ("dcn", "ici"))
