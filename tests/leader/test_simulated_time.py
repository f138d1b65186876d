"""Workers with parameters of their own, pulled together in simulated time."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import timing

TARGETS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
RATE = 0.1


def loss(params, targets):
    return jnp.sum((params - targets[0]) ** 2) / 2


def trained(pull, protocol, num_updates):
    """Return the state, and who came to which update."""
    tx = optax.chain(jd.per_worker("w", optax.sgd(RATE)), pull)
    init, step = jd.simulate_async(
        loss,
        tx,
        4,
        "w",
        protocol=protocol,
        compute_time=timing.exponential(1.0),
        per_worker_params=True,
    )
    state, came = init(jnp.zeros(3)), []
    for _ in range(num_updates):
        state, metrics = step(state, TARGETS)
        came.append(np.asarray(metrics["worker"]))
    return state, came


@pytest.mark.parametrize("number", [1, 2, 4])
def test_asynchronous_elastic_averaging(number):
    state, came = trained(
        jd.pull_to_center("w", 0.2, period=2), timing.k_async(number), 25
    )
    workers, center, counts = np.zeros((4, 3)), np.zeros(3), np.zeros(4, int)
    for who in came:
        counts[who] += 1
        due = (counts[who] % 2 == 0)[:, None]
        away = 0.2 * due * (workers[who] - center)
        workers[who] += -RATE * (workers[who] - TARGETS[who]) - away
        center = center + away.sum(axis=0)
    np.testing.assert_allclose(state.params, workers, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.opt_state[1].center, center, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [1, 2])
def test_asynchronous_leader(number):
    pull = jd.pull_to_leader(
        "w", 0.3, 2, loss_average=2, stored_strength=0.2, num_workers=4
    )
    state, came = trained(pull, timing.k_async(number), 25)
    workers, stored, counts = np.zeros((4, 3)), np.zeros(3), np.zeros(4, int)
    seen, reports = [[] for _ in range(4)], np.full(4, np.inf)
    for who in came:
        counts[who] += 1
        for i in who:
            seen[i] = [*seen[i], ((workers[i] - TARGETS[i]) ** 2).sum() / 2][-2:]
            reports[i] = np.mean(seen[i])
        workers[who] -= RATE * (workers[who] - TARGETS[who])
        workers[who] += 0.1 * (stored - workers[who])
        leader, due = workers[np.argmin(reports)].copy(), counts[who] % 2 == 0
        workers[who] += 0.3 * due[:, None] * (leader - workers[who])
        stored = leader if due.any() else stored
    np.testing.assert_allclose(state.params, workers, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.opt_state[1].reports, reports, rtol=1e-4)


def test_common_parameters_have_nobody_to_follow():
    """Refused before the first update, though a simulation has no types."""
    init, _ = jd.simulate_async(
        loss,
        optax.chain(jd.aggregate("w"), jd.pull_to_center("w", 0.1)),
        4,
        "w",
        protocol=timing.k_async(1),
        compute_time=timing.exponential(1.0),
    )
    with pytest.raises(ValueError, match="pull_to_center has nothing to do"):
        init(jnp.zeros(3))
