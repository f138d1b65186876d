"""A round of one worker, mapped by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

AXIS = harness.AXIS
INNER = optax.sgd(0.1, momentum=0.9)
OUTER = optax.chain(
    jd.aggregate(
        AXIS, compressor=jd.compression.error_feedback(jd.compression.scaled_sign())
    ),
    optax.sgd(0.7, momentum=0.9, nesterov=True),
)


def _batches():
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((2, 3, 64, 10)).astype(np.float32)
    return inputs, np.sin(inputs[..., :1])


@pytest.mark.parametrize("backend", harness.BACKENDS)
@pytest.mark.parametrize(
    ("inner", "options"),
    [
        (INNER, {"inner_state": "carry"}),
        (INNER, {"inner_state": "reset"}),
        (INNER, {"inner_state": "average"}),
        (
            optax.chain(jd.reduce_variance(), optax.sgd(0.1)),
            {"inner_state": "reset", "global_momentum": 0.8},
        ),
    ],
    ids=["carry", "reset", "average", "glomo"],
)
def test_the_same_as_the_recipe(backend, inner, options):
    init, step = jd.local_round(problem.loss, inner, OUTER, AXIS, **options)

    def worker(batches):
        def turn(state, batch):
            return step(state, batch)

        state, _ = step(init(problem.PARAMS), jax.tree.map(lambda x: x[0], batches))
        state, metrics = turn(state, jax.tree.map(lambda x: x[1], batches))
        return state.params, metrics["loss"]

    parts = jax.tree.map(
        lambda x: jnp.moveaxis(x.reshape(2, 3, 8, 8, -1), 2, 0), _batches()
    )
    params, losses = harness.run(worker, backend, parts)
    init, step = jd.simulate(*(problem.loss, inner, 8, AXIS), outer=OUTER, **options)
    state = init(problem.PARAMS)
    for turn in range(2):
        batches = jax.tree.map(lambda x, turn=turn: x[turn], _batches())
        state, metrics = step(state, batches)
    for worker_index in range(8):
        own = jax.tree.map(lambda x, w=worker_index: x[w], params)
        harness.assert_trees_close(own, state.params, atol=1e-6)
    np.testing.assert_allclose(losses, metrics["loss"], rtol=1e-5)
