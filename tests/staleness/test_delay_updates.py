"""Delay: what went in comes out later, and makes descent as unstable as it should."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness


def outputs(tx, inputs):
    def step(state, updates):
        out, state = tx.update(updates, state)
        return state, out

    return jax.lax.scan(step, tx.init(inputs[0]), inputs)[1]


INPUTS = jnp.arange(1.0, 11.0)[:, None] * jnp.array([[1.0, 10.0]])


@pytest.mark.parametrize("delay", [1, 2, 3, 7])
@pytest.mark.parametrize("warm_up", ["zeros", "oldest"])
def test_fixed_delay(delay, warm_up):
    out = outputs(jd.delay_updates(delay, warm_up), INPUTS)
    np.testing.assert_array_equal(out[delay:], INPUTS[:-delay])
    before = INPUTS[0] if warm_up == "oldest" else 0 * INPUTS[0]
    for row in out[:delay]:
        np.testing.assert_array_equal(row, before)


@pytest.mark.parametrize("delay", [0, [1.0], [1.0, 0.0]])
def test_no_delay_is_the_identity(delay):
    tx = jd.delay_updates(delay)
    np.testing.assert_array_equal(outputs(tx, INPUTS), INPUTS)
    assert tx.init(INPUTS[0]) == optax.EmptyState()


def test_certain_probability_is_a_fixed_delay():
    np.testing.assert_array_equal(
        outputs(jd.delay_updates([0.0, 0.0, 1.0]), INPUTS),
        outputs(jd.delay_updates(2), INPUTS),
    )


@pytest.mark.parametrize("warm_up", ["zeros", "oldest"])
def test_drawn_delays_have_their_probabilities(warm_up):
    probabilities = [0.2, 0.5, 0.0, 0.3]
    steps = jnp.arange(20_000.0)[:, None]
    out = outputs(jd.delay_updates(probabilities, warm_up, key=1), steps + 1)
    delays = np.asarray(steps + 1 - out)[10:, 0].astype(int)
    shares = np.bincount(delays, minlength=4) / len(delays)
    np.testing.assert_allclose(shares, probabilities, atol=0.02)
    first = np.asarray(out)[:3, 0]
    assert (first >= (1 if warm_up == "oldest" else 0)).all()


@pytest.mark.parametrize(
    ("delay", "limit"), [(0, 2.0), (1, 1.0), (2, 0.6180), (5, 0.2846), (10, 0.1495)]
)
def test_stability_limit_of_stale_descent(delay, limit):
    """On x^2 / 2 a delay of tau is stable below 2 sin(pi / (2 (2 tau + 1)))."""

    def distance(rate):
        tx = optax.chain(jd.delay_updates(delay), optax.sgd(rate))

        def step(carry, _):
            x, state = carry
            updates, state = tx.update(x, state, x)
            return (x + updates, state), None

        (x, _), _ = jax.lax.scan(
            step, (jnp.ones(()), tx.init(jnp.ones(()))), length=10_000
        )
        return abs(float(x))

    assert distance(0.97 * limit) < 1e-2
    assert not distance(1.03 * limit) < 1e2


def test_history_has_the_steps_last():
    state = jd.delay_updates(3).init({"w": jnp.zeros((2, 5), jnp.bfloat16)})
    assert state.history["w"].shape == (2, 5, 3)
    assert state.history["w"].dtype == jnp.bfloat16


def test_workers_are_late_independently():
    tx = jd.per_worker("w", jd.delay_updates([0.5, 0.5]))

    def worker(inputs):
        return outputs(tx, inputs)

    steps = jnp.broadcast_to(jnp.arange(100.0), (4, 100))[..., None]
    out = np.asarray(jax.jit(jax.vmap(worker, axis_name="w"))(steps))[..., 0]
    for i in range(4):
        for j in range(i):
            assert 0.2 < (out[i] != out[j]).mean() < 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "`delay` must be an integer >= 0, got -1"),
        ((1.5,), "`delay` must be an integer >= 0, got 1.5"),
        (([0.5, 0.6],), "`delay` must be a number of steps or probabilities.*got"),
        (([-0.5, 1.5],), "`delay` must be a number of steps or probabilities.*got"),
        (([],), "`delay` must be a number of steps or probabilities.*got"),
        ((1, "skip"), "`warm_up` must be one of 'zeros', 'oldest', got 'skip'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.delay_updates(*arguments)


def seen_inside(delay, warm_up="zeros", steps=6):
    """Return what ``inner`` sees, step by step: updates, staleness, parameters."""

    def note(updates, state, params=None, *, staleness, stale_params, **extra):
        del state
        return updates, (updates, staleness, stale_params, params, extra["value"])

    inner = optax.GradientTransformationExtraArgs(
        lambda params: (params, jnp.int32(0), params, params, jnp.zeros(())), note
    )
    tx = jd.delay_updates(delay, warm_up, inner=inner)
    params = 10 * jnp.arange(1.0, steps + 1)
    state, seen = tx.init(params[0]), []
    for step in range(steps):
        gradient = jnp.asarray(step + 1.0)
        _, state = tx.update(gradient, state, params[step], value=gradient)
        seen.append(state.inner_state if delay else state)
    return [np.asarray(column) for column in zip(*seen, strict=True)]


@pytest.mark.parametrize("warm_up", ["zeros", "oldest"])
def test_inner_sees_what_was_and_how_late_it_is(warm_up):
    updates, late, stale, params, value = seen_inside(2, warm_up)
    first = [0, 0, 1] if warm_up == "zeros" else [1, 1, 1]
    np.testing.assert_array_equal(updates, [*first, 2, 3, 4])
    np.testing.assert_array_equal(late, [0, 1, 2, 2, 2, 2])
    np.testing.assert_array_equal(stale, [10, 10, 10, 20, 30, 40])
    np.testing.assert_array_equal(params, [10, 20, 30, 40, 50, 60])
    np.testing.assert_array_equal(value, [1, 2, 3, 4, 5, 6])


def test_inner_sees_the_parameters_of_drawn_delays():
    updates, late, stale, _, _ = seen_inside([0.3, 0.4, 0.3], "oldest", steps=40)
    np.testing.assert_array_equal(stale, 10 * updates)
    np.testing.assert_array_equal(updates, np.arange(1, 41) - late)
    assert set(late) == {0, 1, 2}


def test_without_delay_inner_sees_what_is_fresh():
    updates, late, stale, params, _ = seen_inside(0)
    np.testing.assert_array_equal(updates, np.arange(1, 7))
    np.testing.assert_array_equal(late, np.zeros(6))
    np.testing.assert_array_equal(stale, params)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_inner_of_each_worker(backend):
    tx = jd.per_worker(
        harness.AXIS, jd.delay_updates(1, inner=jd.scale_by_staleness(1.0))
    )
    updates = jnp.arange(24.0).reshape(3, 8)
    out, state = harness.run_steps(tx, backend, jnp.zeros(8), updates)
    np.testing.assert_array_equal(out, jnp.stack([0 * out[:, 0], *updates[:2] / 2], 1))
    updates_history, params_history = state.inner_state.delayed.history
    assert updates_history.shape == params_history.shape == (8, 1, 1)


def test_inner_needs_parameters():
    tx = jd.delay_updates(1, inner=jd.scale_by_staleness())
    with pytest.raises(ValueError, match="delay_updates with `inner` needs `params`"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
    with pytest.raises(TypeError, match="`inner` must be of type"):
        jd.delay_updates(1, inner=3)
