"""What the metrics say of workers that are known to be bad."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

HONEST = jax.random.normal(jax.random.key(0), (8, 40))
ATTACKED = HONEST.at[6:].set(50.0)


def metrics(rule, updates, route="scatter", backend="vmap"):
    tx = optax.chain(
        jd.aggregate(harness.AXIS, rule, route=route, metrics=True), optax.sgd(0.1)
    )

    def worker(updates):
        return tx.update(updates, tx.init(updates), updates)[1]

    state = harness.run(worker, backend, updates)
    return jax.tree.map(lambda leaf: leaf[0], jd.aggregation_metrics(state))


@pytest.mark.parametrize("route", ["gather", "scatter"])
@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_of_krum(route, backend):
    found = metrics(jd.rules.krum(2), ATTACKED, route, backend)
    chosen = int(np.argmax(found.influence))
    assert chosen < 6
    np.testing.assert_array_equal(found.influence, np.arange(8) == chosen)
    np.testing.assert_array_equal(found.selected, np.arange(8) == chosen)
    distances = np.linalg.norm(
        np.asarray(ATTACKED) - np.asarray(ATTACKED[chosen]), axis=1
    )
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)
    honest = np.asarray(HONEST[:6])
    spread = ((honest - honest.mean(axis=0)) ** 2).sum(axis=1).mean()
    error = ((honest[chosen] - honest.mean(axis=0)) ** 2).sum()
    np.testing.assert_allclose(found.kappa, error / spread, rtol=1e-4)
    assert int(found.num_nonfinite) == 0


def test_of_a_trimmed_mean():
    found = metrics(jd.rules.trimmed_mean(2), ATTACKED)
    np.testing.assert_allclose(found.influence.sum(), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.trimmed[6:], [1, 1])
    # Four of six honest values are averaged in each coordinate.
    np.testing.assert_allclose(found.influence, (1 - found.trimmed) / 4, atol=1e-6)
    np.testing.assert_allclose((1 - found.trimmed[:6]).sum(), 4, rtol=1e-6)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_of_a_vote(backend):
    """Attackers who always vote against the others have no influence."""
    against = jnp.concatenate([jnp.abs(HONEST[:6]), -ATTACKED[6:]])
    found = metrics(jd.rules.sign_majority(), against, backend=backend)
    np.testing.assert_array_equal(found.trimmed, [0] * 6 + [1] * 2)
    np.testing.assert_allclose(found.influence, [1 / 8] * 6 + [0] * 2, rtol=1e-6)
    behind = metrics(jd.rules.nnm(2, then=jd.rules.sign_majority()), against)
    assert behind.influence[:6].min() > 0.1
    np.testing.assert_array_equal(behind.influence[6:], [0, 0])


def test_of_workers_that_are_not_finite():
    found = metrics(jd.rules.median(), HONEST.at[3, 5].set(jnp.nan))
    assert int(found.num_nonfinite) == 1
    assert np.isfinite(found.influence).all() and np.isfinite(found.kappa)
    assert np.isnan(found.distances[3])


def test_of_equal_workers():
    found = metrics(jd.rules.median(), jnp.ones((8, 40)))
    assert np.isfinite(found.kappa)
    np.testing.assert_array_equal(found.distances, np.zeros(8))


@pytest.mark.parametrize("route", ["gather", "scatter"])
def test_of_the_mean(route):
    """A loop over rules begins with it."""
    found = metrics(jd.rules.mean(), ATTACKED, route)
    np.testing.assert_allclose(found.influence, 1 / 8, rtol=1e-6)
    assert found.selected.all() and found.num_nonfinite == 0
    mean = np.asarray(ATTACKED).mean(axis=0)
    distances = np.linalg.norm(np.asarray(ATTACKED) - mean, axis=1)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_a_mean_of_what_is_not_finite_stays_so():
    tx = jd.aggregate(harness.AXIS, metrics=True)
    bad = ATTACKED.at[2, 3].set(jnp.nan)
    out, state = jax.jit(
        jax.vmap(lambda g: tx.update(g, tx.init(g)), axis_name=harness.AXIS)
    )(bad)
    assert np.isnan(out[0]).sum() == 1
    assert state.rule.num_nonfinite[0] == 1


def test_states_without_metrics():
    with pytest.raises(ValueError, match="`state` must hold the metrics of one"):
        jd.aggregation_metrics(jd.aggregate(harness.AXIS).init(jnp.zeros(3)))
