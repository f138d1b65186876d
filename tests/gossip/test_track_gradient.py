"""Each worker follows the mean gradient, and ends at the optimum of all data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

TOPOLOGIES = [
    jd.gossip.ring(),
    jd.gossip.one_peer_exponential(),
    jd.gossip.random_pairs(),
]
EVERY = pytest.mark.parametrize("topology", TOPOLOGIES, ids=repr)


def tracking(topology, axis_name=problem.AXIS):
    return optax.chain(
        jd.track_gradient(axis_name, topology),
        jd.mix_with_neighbors(axis_name, topology),
    )


@pytest.mark.parametrize("topology", TOPOLOGIES[:2], ids=repr)
def test_the_steps_of_the_paper(topology):
    """The chain scales gradients by -0.05 before they are tracked."""
    own = np.zeros((8, 50))
    tracked, last = np.zeros((8, 50)), np.zeros((8, 50))
    phases = topology.phases(8)
    for count in range(20):
        gradient = problem.CURVATURES * (own - problem.CENTERS)
        before = phases[(count - 1) % len(phases)].matrix
        tracked = before @ tracked + gradient - last
        own = phases[count % len(phases)].matrix @ own - 0.05 * tracked
        last = gradient
    found = problem.trained(tracking(topology), 20)
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=2e-6)


@EVERY
def test_no_bias_in_float32(topology):
    error = problem.mean_squared_error(problem.trained(tracking(topology), 1600))
    assert error <= 1e-10


@EVERY
def test_no_bias_in_float64(topology):
    with jax.enable_x64(True):
        error = problem.mean_squared_error(problem.trained(tracking(topology), 800))
    assert error <= 1e-11


def test_the_mean_is_that_of_the_gradients():
    tx = jd.track_gradient(harness.AXIS, jd.gossip.exponential())
    updates = jax.random.normal(jax.random.key(0), (6, 8, 4))
    out, state = harness.run_steps(tx, "shard_map", jnp.zeros((8, 4)), updates)
    np.testing.assert_allclose(
        out.mean(axis=0), updates.mean(axis=1), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(out[:, 0], updates[0], rtol=1e-6)
    assert np.abs(state.correction.inner_state.sum(axis=0)).max() < 1e-5


def test_one_gradient_that_is_not_finite_is_forgotten():
    tx = jd.track_gradient(harness.AXIS, jd.gossip.ring())
    updates = jnp.ones((4, 8, 3)).at[1, 2, 0].set(jnp.nan)
    out, _ = harness.run_steps(tx, "vmap", jnp.zeros((8, 3)), updates)
    np.testing.assert_array_equal(np.isfinite(out).all(axis=2)[2], [1, 0, 1, 1])
    np.testing.assert_allclose(out[:, 2:], 1)


def test_bytes_of_both_are_twice_those_of_one():
    params = jnp.zeros(100)
    report = jd.communication_report(tracking(jd.gossip.ring()), params, 8)
    assert report.total_nbytes == 2 * 2 * 400
    assert len(report.shipments) == 2


def test_the_mean_must_stay():
    rows = jd.gossip.graph([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.25, 0.0, 0.75]])
    with pytest.raises(ValueError, match="`topology` of track_gradient .* only the ro"):
        jd.track_gradient("x", rows)
