"""Sums stay over directed graphs, and quotients become their mean."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.gossip import problem

RNG = np.random.default_rng(0)


def leaning_matrix():
    weights = RNG.random((8, 8)) * (RNG.random((8, 8)) < 0.4)
    weights += np.eye(8) + np.roll(np.eye(8), 1, axis=0)
    return weights / weights.sum(axis=0)


LEANING = leaning_matrix()


def paper(matrices, num_steps, start=None, rate=0.05):
    """Return the quotients and weights of Algorithm 1, in NumPy."""
    sums = np.zeros((8, 50)) if start is None else start.astype(float)
    weights = np.ones(8)
    for count in range(num_steps):
        own = sums / weights[:, None]
        step = -rate * problem.CURVATURES * (own - problem.CENTERS)
        matrix = matrices[count % len(matrices)]
        sums, weights = matrix @ (sums + step), matrix @ weights
    return sums / weights[:, None], weights


@pytest.mark.parametrize("num_steps", [1, 2, 30])
def test_the_steps_of_the_paper(num_steps):
    tx = jd.push_sum(problem.AXIS, jd.gossip.graph(LEANING))
    expected, _ = paper([LEANING], num_steps)
    found = problem.trained(tx, num_steps)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_phases_of_columns():
    matrices = np.stack([LEANING, leaning_matrix(), np.eye(8)])
    tx = jd.push_sum(problem.AXIS, jd.gossip.graph(matrices))
    expected, _ = paper(matrices, 25)
    np.testing.assert_allclose(problem.trained(tx, 25), expected, rtol=1e-5, atol=2e-6)


def test_with_rows_it_is_diffusion():
    topology = jd.gossip.one_peer_exponential()
    push = problem.trained(jd.push_sum(problem.AXIS, topology), 50)
    mix = problem.trained(
        jd.mix_with_neighbors(problem.AXIS, topology, order="adapt_then_combine"), 50
    )
    np.testing.assert_allclose(push, mix, atol=1e-6)


def steps_without_gradient(start, num_steps, weight=None):
    """Return the quotients and weights after steps, in float32."""
    tx = jd.push_sum(harness.AXIS, jd.gossip.graph(LEANING))

    own, weights = jnp.asarray(start), jnp.ones(8)
    state = jd.PushSumState(
        jnp.zeros((8,), jnp.int32), jd.PerWorkerState(weights[:, None])
    )
    weight = jnp.ones((num_steps, 8)) if weight is None else weight
    for count in range(num_steps):

        def step(own, state, here):
            updates, state = tx.update(jnp.zeros_like(own), state, own, weight=here)
            return own + updates, state

        own, state = harness.run(step, "vmap", own, state, weight[count])
    return np.asarray(own), np.asarray(state.weight.inner_state)[:, 0]


def test_all_come_to_the_mean_also_of_those_who_were_absent():
    start = RNG.standard_normal((8, 3)).astype(np.float32)
    weight = np.ones((40, 8), np.float32)
    weight[:4, 3] = 0
    ends, weights = steps_without_gradient(start, 40, jnp.asarray(weight))
    np.testing.assert_allclose(ends, [start.mean(axis=0)] * 8, atol=2e-6)
    np.testing.assert_allclose(weights.sum(), 8, rtol=1e-5)
    assert weights.std() > 0.1


def test_a_nan_stays_where_it_is():
    start = RNG.standard_normal((8, 3)).astype(np.float32)
    start[4] = np.nan
    ends, weights = steps_without_gradient(start, 5)
    assert np.isfinite(np.delete(ends, 4, axis=0)).all() and np.isfinite(weights).all()


def test_bytes():
    tx = jd.push_sum(harness.AXIS, jd.gossip.one_peer_exponential())
    report = jd.communication_report(tx, jnp.zeros(100), 8)
    assert report.total_nbytes == 400 + 4


def test_rows_alone_are_refused():
    with pytest.raises(ValueError, match="`topology` of push_sum .* only the rows do"):
        jd.push_sum("x", jd.gossip.graph(LEANING.T))
