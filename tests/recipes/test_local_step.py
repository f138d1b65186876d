"""A worker's step runs under any mapping the user writes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.recipes import problem

SPLIT = jax.tree.map(lambda x: x.reshape(8, 8, *x.shape[1:]), problem.BATCH)
TX = optax.chain(
    jd.aggregate(
        harness.AXIS,
        compressor=jd.compression.error_feedback(jd.compression.top_k(0.2)),
    ),
    optax.sgd(0.1),
)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_any_mapping_trains_alike(backend):
    step = jd.local_step(problem.loss_with_metrics, TX, harness.AXIS, has_aux=True)

    def worker(batch):
        state = jd.TrainState(problem.PARAMS, TX.init(problem.PARAMS))
        history = []
        for _ in range(3):
            state, metrics = step(state, batch)
            history.append(metrics)
        return state.params, history

    params, history = harness.run(worker, backend, SPLIT)
    losses = [float(metrics["loss"][0]) for metrics in history]
    np.testing.assert_allclose(
        losses[0], problem.loss(problem.PARAMS, problem.BATCH), rtol=1e-5
    )
    assert losses[2] < losses[1] < losses[0]
    for leaf in jax.tree.leaves(params):
        assert np.ptp(leaf, axis=0).max() == 0


def test_loss_is_given_to_the_optimizer():
    seen = []

    def update(updates, state, params=None, *, value, **extra):
        seen.append(value)
        return updates, state

    watch = optax.GradientTransformationExtraArgs(lambda params: (), update)
    step = jd.local_step(problem.loss, optax.chain(watch, TX), harness.AXIS)

    def worker(batch):
        tx = optax.chain(watch, TX)
        state = jd.TrainState(problem.PARAMS, tx.init(problem.PARAMS))
        return step(state, batch)[1]

    jax.vmap(worker, axis_name=harness.AXIS)(SPLIT)
    assert jnp.shape(seen[0]) == ()


def test_a_metric_must_not_be_called_loss():
    def bad(params, batch):
        return problem.loss(params, batch), {"loss": 0.0}

    step = jd.local_step(bad, TX, harness.AXIS, has_aux=True)
    state = jd.TrainState(problem.PARAMS, TX.init(problem.PARAMS))
    with pytest.raises(ValueError, match="metric called 'loss'"):
        jax.vmap(lambda b: step(state, b), axis_name=harness.AXIS)(SPLIT)
