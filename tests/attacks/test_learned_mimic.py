"""Learned mimic: the direction it learns, and whom it copies when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def run(attack, sequence):
    """Return what the attackers sent in each step, and the last state."""
    state, sent = attack.init(jax.tree.map(lambda x: x[0], sequence[0])), []
    step = jax.jit(attack.step, static_argnums=2)
    for i, tree in enumerate(sequence):
        out, state = step(tree, state, cases.NUM_BYZANTINE, jax.random.key(i))
        sent.append(cases.flat(out)[cases.NUM_HONEST :])
    return sent, state


def test_learns_the_direction_of_most_variance():
    """Workers differ along one vector, which changes little from step to step."""
    rng = np.random.default_rng(0)
    along = rng.standard_normal(20)
    along /= np.linalg.norm(along)
    places = rng.standard_normal(cases.NUM_WORKERS)
    noise = 0.1 * rng.standard_normal((20, cases.NUM_WORKERS, 20))
    sequence = [
        jnp.asarray(2 * np.outer(places, along) + e, jnp.float32) for e in noise
    ]
    sent, state = run(jd.attacks.learned_mimic(), sequence)
    assert abs(float(np.dot(state.direction, along))) > 0.98
    sign = np.sign(np.dot(state.direction, along))
    outermost = np.argmax(sign * places[: cases.NUM_HONEST])
    assert int(state.worker_index) == outermost
    np.testing.assert_array_equal(sent[-1], np.asarray(sequence[-1])[[outermost] * 2])


def test_agrees_with_a_loop_in_numpy():
    sequence = [cases.updates(seed) for seed in range(4)]
    _, state = run(jd.attacks.learned_mimic(), sequence)
    mean = direction = 0.0
    for t, tree in enumerate(sequence):
        honest = cases.flat(tree)[: cases.NUM_HONEST]
        mean = t / (t + 1) * mean + honest.mean(axis=0) / (t + 1)
        if t == 0:
            direction = np.asarray(jax.random.normal(jax.random.key(0), mean.shape))
        centred = honest - mean
        step = centred.T @ (centred @ direction)
        direction = t * direction * (t > 0) + step / np.linalg.norm(step)
        direction /= np.linalg.norm(direction)
    np.testing.assert_allclose(state.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.direction, direction, rtol=1e-4, atol=1e-5)
    assert int(state.worker_index) == np.argmax(honest @ direction)


def test_after_the_warm_up_it_is_the_same_worker_for_good():
    sequence = [cases.updates(seed) for seed in range(6)]
    sent, state = run(jd.attacks.learned_mimic(warm_up=2), sequence)
    _, learned = run(jd.attacks.learned_mimic(), sequence[:2])
    assert int(state.count) == 6
    np.testing.assert_array_equal(state.direction, learned.direction)
    for tree, bad in zip(sequence[1:], sent[1:], strict=True):
        chosen = cases.flat(tree)[int(learned.worker_index)]
        np.testing.assert_array_equal(bad, [chosen, chosen])


def test_workers_that_agree_have_no_direction():
    sent, state = run(jd.attacks.learned_mimic(), [jnp.ones((9, 3))] * 2)
    np.testing.assert_array_equal(state.direction, 0)
    np.testing.assert_array_equal(sent[-1], 1)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`warm_up` must be an integer >= 1, got 0"):
        jd.attacks.learned_mimic(0)
    with pytest.raises(
        ValueError, match=r"`num_byzantine`.*\[0, 2\] for learned_mimic"
    ):
        jd.attacks.learned_mimic()(jnp.ones((3, 2)), 3)
