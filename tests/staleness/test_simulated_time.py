"""What is late in simulated time, and what transformations make of it."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import timing

TARGETS = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)


def loss(params, targets):
    return jnp.sum((params - targets[0]) ** 2) / 2


def recipe(tx, protocol):
    return jd.simulate_async(
        loss,
        tx,
        6,
        "w",
        protocol=protocol,
        compute_time=timing.exponential(1.0),
    )


def factors(name, now, then, late):
    """Return the step of each of those who came."""
    if name == "scale":
        return 0.1 * (1.0 + late) ** -0.5
    squared = ((now[None] - then) ** 2).sum(axis=1)
    return np.minimum(1e-4 / np.maximum(squared, 1e-30), 0.1)


@pytest.mark.parametrize("name", ["scale", "limit"])
def test_each_who_comes_is_late_for_itself(name):
    links = {
        "scale": [jd.scale_by_staleness(), jd.aggregate("w"), optax.sgd(0.1)],
        "limit": [jd.limit_step_by_distance(1e-4, 0.1), jd.aggregate("w")],
    }
    init, step = recipe(optax.chain(*links[name]), timing.k_async(2))
    state, params = init(jnp.zeros(3)), [np.zeros(3)]
    for update in range(25):
        state, metrics = step(state, TARGETS)
        late, who = (np.asarray(metrics[key]) for key in ("staleness", "worker"))
        then = np.array([params[update - tau] for tau in late])
        steps = factors(name, params[-1], then, late)[:, None]
        params.append(params[-1] - (steps * (then - TARGETS[who])).mean(axis=0))
        np.testing.assert_allclose(state.params, params[-1], rtol=1e-4, atol=1e-6)


def test_updates_that_are_too_late_do_not_happen():
    tx = jd.skip_stale("w", optax.chain(jd.aggregate("w"), optax.sgd(0.1, 0.9)), 4)
    init, step = recipe(tx, timing.k_async(1))
    state, skipped = init(jnp.zeros(3)), 0
    for _ in range(40):
        before = np.asarray(state.params)
        state, metrics = step(state, TARGETS)
        is_late = int(metrics["staleness"][0]) >= 4
        skipped += is_late
        assert (np.ptp(state.params - before) == 0) == is_late
    assert 0 < skipped < 40
    assert int(state.opt_state.skipped) == skipped
