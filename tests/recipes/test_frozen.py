"""Zeros are found in traced programs, and nothing else is taken for zero."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.recipes import _frozen
from tests import harness
from tests.recipes import problem


@pytest.mark.parametrize(
    ("function", "zero"),
    [
        (lambda x, y: jnp.zeros_like(x), True),
        (lambda x, y: jnp.float32(3) * jnp.zeros_like(x), True),
        (lambda x, y: jnp.where(y > 0, jnp.zeros_like(x), -jnp.zeros_like(x)), True),
        (lambda x, y: jax.jit(lambda z: z + jnp.zeros_like(z))(jnp.zeros(3)), True),
        (lambda x, y: jnp.zeros_like(x) + y, False),
        (lambda x, y: jnp.where(y > 0, jnp.zeros_like(x), x), False),
        (lambda x, y: jnp.ones_like(x), False),
        (lambda x, y: jnp.exp(jnp.zeros_like(x)), False),
        (lambda x, y: x - x, False),
    ],
)
def test_what_is_zero_for_sure(function, zero):
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert _frozen.always_zero(function, shape, shape) is zero


def _frozen_optimizers():
    trained = optax.chain(jd.aggregate(harness.AXIS), optax.sgd(1.0))
    labels = {"w": "trained", "v": "frozen"}
    transforms = {"trained": trained, "frozen": optax.set_to_zero()}
    yield optax.partition(transforms, labels)
    yield optax.chain(
        optax.selective_transform(trained, freeze_mask={"w": False, "v": True}),
        optax.scale_by_learning_rate(1.0),
    )


@pytest.mark.parametrize("tx", [*_frozen_optimizers()], ids=["partition", "selective"])
def test_frozen_leaves_stay_and_send_nothing(tx):
    mesh = harness.make_mesh()
    results = []
    for init, step in (
        jd.data_parallel(problem.loss, tx, mesh, harness.AXIS),
        jd.simulate(problem.loss, tx, 8, harness.AXIS),
    ):
        state, _ = step(init(problem.PARAMS), problem.BATCH)
        results.append(state.params)
    np.testing.assert_array_equal(results[0]["v"], problem.PARAMS["v"])
    assert np.abs(results[0]["w"] - problem.PARAMS["w"]).max() > 0.01
    harness.assert_trees_close(*results)
    report = jd.communication_report(tx, problem.PARAMS, 8)
    alone = jd.communication_report(
        jd.aggregate(harness.AXIS), {"w": problem.PARAMS["w"]}, 8
    )
    assert report.shipments == alone.shipments
