"""AdaScale: W equal workers are one, W orthogonal ones are W."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS = harness.AXIS


def trajectory(tx, updates, backend="vmap"):
    """Return the updates of the first worker, and its final state."""
    params = jnp.zeros(updates.shape[1:])
    out, state = harness.run_steps(tx, backend, params, updates)
    return out[0], jax.tree.map(lambda x: x[0], state)


@pytest.mark.usefixtures("standard_promotion")  # of the schedule of optax.sgd
def test_equal_workers_are_one_worker():
    rng = np.random.default_rng(0)
    alone = jnp.asarray(rng.standard_normal((5, 4)), jnp.float32)
    schedule = optax.cosine_decay_schedule(0.3, 10)
    updates = jnp.broadcast_to(alone[:, None], (5, 8, 4))
    inner = optax.chain(jd.aggregate(AXIS), optax.trace(0.9))
    found, state = trajectory(jd.adascale(AXIS, schedule, inner), updates)
    sgd = optax.sgd(schedule, momentum=0.9)
    at = sgd.init(alone[0])
    for step in range(5):
        wanted, at = sgd.update(alone[step], at)
        np.testing.assert_allclose(found[step], wanted, rtol=1e-5, atol=1e-7)
    assert state.progress == pytest.approx(5, rel=1e-5)
    assert jd.diversity_metrics(state).gain == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_orthogonal_workers_are_eight(power):
    updates = jnp.broadcast_to(jnp.eye(8), (3, 8, 8))
    tx = jd.adascale(AXIS, 0.1, jd.aggregate(AXIS), power=power)
    found, state = trajectory(tx, updates, "shard_map")
    np.testing.assert_allclose(found, np.full((3, 8), -0.1 * 8**power / 8), rtol=1e-5)
    assert state.progress == 24


def test_schedule_goes_by_progress():
    updates = jnp.broadcast_to(jnp.eye(8), (3, 8, 8))
    tx = jd.adascale(AXIS, lambda progress: progress, jd.aggregate(AXIS))
    found, _ = trajectory(tx, updates)
    np.testing.assert_allclose(found[:, 0], [0, -8, -16], rtol=1e-6)


def test_gain_is_that_of_running_means():
    rng = np.random.default_rng(1)
    updates = jnp.asarray(rng.standard_normal((4, 8, 30)) + 0.3, jnp.float32)
    _, state = trajectory(
        jd.adascale(AXIS, 0.1, jd.aggregate(AXIS), decay=0.7), updates
    )
    inner = jd.measure_diversity(AXIS, jd.aggregate(AXIS), decay=0.7)
    _, measured = trajectory(inner, updates)
    harness.assert_trees_close(state.moments, measured.moments)
    _, state = trajectory(jd.adascale(AXIS, 0.1, jd.aggregate(AXIS)), updates[:1])
    np.testing.assert_allclose(state.moments.weight, 8 / 1000, rtol=1e-5)


def test_steps_that_cannot_be_measured_keep_the_gain():
    bad = jnp.eye(8).at[2, 3].set(jnp.nan)
    updates = jnp.stack([jnp.eye(8), bad])
    inner = jd.aggregate(AXIS, jd.rules.median())
    found, state = trajectory(jd.adascale(AXIS, 0.1, inner), updates)
    assert np.isfinite(found).all() and state.progress == 16


def test_one_worker_is_refused():
    tx = jd.adascale(AXIS, 0.1, jd.aggregate(AXIS))

    def alone(row):
        return tx.update(row, tx.init(row))[0]

    with pytest.raises(ValueError, match="adascale compares.*at least 2"):
        jax.vmap(alone, axis_name=AXIS)(jnp.ones((1, 3)))
