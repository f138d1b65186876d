"""Leader pull: fixed points of the paper, ties, and workers that must not lead."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests import harness

AXIS = "worker"


def pull(tx, params, losses, updates=None):
    def step(params, loss, updates):
        return tx.update(updates, tx.init(params), params, value=loss)[0]

    updates = jnp.zeros_like(params) if updates is None else updates
    return jax.vmap(step, axis_name=AXIS)(params, losses, updates)


@pytest.mark.parametrize(
    ("pull_rate", "follower"),
    [(0.1, -0.8872983346), (0.2, -0.7236067977), (0.3, 1.0), (0.5, 1.0)],
)
def test_fixed_points_in_a_double_well(pull_rate, follower):
    """With f = (x^2 - 1)^2 / 4 the leader is at 1, the follower at the root below.

    The paper's gradient step eta lambda (x - leader) and the pull after the step have
    the same fixed points for strength = eta lambda / (1 + eta lambda).
    """
    rate = 0.05
    strength = rate * pull_rate / (1 + rate * pull_rate)
    tx = optax.chain(optax.sgd(rate), jd.pull_to_leader(AXIS, strength))

    def worker(x):
        def step(carry, _):
            x, state = carry
            loss, gradient = jax.value_and_grad(lambda x: (x**2 - 1) ** 2 / 4)(x)
            updates, state = tx.update(gradient, state, x, value=loss)
            return (x + updates, state), None

        return jax.lax.scan(step, (x, tx.init(x)), length=4000)[0][0]

    ends = jax.vmap(worker, axis_name=AXIS)(jnp.array([1.05, -0.9]))
    np.testing.assert_allclose(ends, [1.0, follower], atol=1e-5)


def test_everybody_goes_part_of_the_way_to_where_the_leader_steps():
    params, updates = jnp.array([[0.0], [4.0]]), jnp.array([[1.0], [2.0]])
    moved = params + pull(
        jd.pull_to_leader(AXIS, 0.25), params, jnp.array([1.0, 2.0]), updates
    )
    np.testing.assert_allclose(moved, [[1.0], [6.0 - 0.25 * 5.0]])


def test_strength_one_copies_and_zero_leaves_alone():
    params, losses = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([3.0, 1.0, 2.0])
    np.testing.assert_allclose(
        params + pull(jd.pull_to_leader(AXIS, 1.0), params, losses), [[2.0]] * 3
    )
    np.testing.assert_array_equal(
        pull(jd.pull_to_leader(AXIS, 0.0), params, losses), jnp.zeros((3, 1))
    )


@pytest.mark.parametrize(
    ("losses", "leader"),
    [
        ([2.0, 1.0, 1.0], 1),
        ([np.nan, 3.0, 2.0], 2),
        ([-np.inf, 3.0, 2.0], 2),
        ([np.inf, 5.0, np.nan], 1),
    ],
)
def test_who_leads(losses, leader):
    params = jnp.array([[1.0], [2.0], [3.0]])
    moved = params + pull(jd.pull_to_leader(AXIS, 1.0), params, jnp.array(losses))
    np.testing.assert_array_equal(moved, np.full((3, 1), params[leader, 0]))


def test_parameters_that_are_not_finite_never_lead():
    params, losses = jnp.array([[1.0], [2.0], [3.0]]), jnp.array([0.0, 1.0, 2.0])
    updates = jnp.array([[jnp.nan], [0.0], [0.0]])
    moved = params + pull(jd.pull_to_leader(AXIS, 1.0), params, losses, updates)
    np.testing.assert_array_equal(moved[1:], [[2.0], [2.0]])


def test_without_any_leader_nobody_is_pulled():
    params, losses = jnp.array([[1.0], [2.0]]), jnp.array([jnp.nan, jnp.inf])
    np.testing.assert_array_equal(
        pull(jd.pull_to_leader(AXIS, 0.5), params, losses), jnp.zeros((2, 1))
    )


def test_period_pulls_at_its_end():
    tx = jd.pull_to_leader(harness.AXIS, 1.0, period=3)
    params = jnp.arange(8.0)
    updates = jnp.zeros((6, 8))
    losses = jnp.broadcast_to(jnp.arange(8.0), (6, 8))
    out, _ = harness.run_steps(tx, "shard_map", params, updates, {"value": losses})
    pulled = np.zeros((8, 6))
    pulled[:, [2, 5]] = -np.arange(8.0)[:, None]
    np.testing.assert_array_equal(out, pulled)


def test_the_leaders_bits_arrive():
    params = jax.random.normal(jax.random.key(0), (8, 100)).astype(jnp.bfloat16)
    tx = jd.pull_to_leader(harness.AXIS, 1.0)
    out, _ = harness.run_steps(
        tx,
        "shard_map",
        params,
        jnp.zeros((1, 8, 100), jnp.bfloat16),
        {"value": jnp.arange(8.0)[None]},
    )
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out[0, 0].astype(jnp.float32), jnp.zeros(100))


def test_missing_arguments_say_what_to_call():
    tx = jd.pull_to_leader(AXIS, 0.1)
    params = jnp.zeros((2, 3))

    def mapped(**arguments):
        def step(row):
            return tx.update(row, tx.init(row), **arguments)[0]

        return jax.vmap(step, axis_name=AXIS)(params)

    with pytest.raises(ValueError, match="needs `params`"):
        mapped(value=1.0)
    with pytest.raises(ValueError, match="scalar `value`.*Got nothing"):
        mapped(params=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"scalar `value`.*Got shape \(2,\)"):
        mapped(params=jnp.zeros(3), value=jnp.zeros(2))


def test_replicated_parameters_have_nobody_to_follow():
    tx = jd.pull_to_leader(harness.AXIS, 0.1)

    def worker(row):
        params = jnp.zeros(3)
        return tx.update(row, tx.init(params), params, value=row.sum())[0]

    with pytest.raises(ValueError, match="same on all workers.*per_worker_params"):
        harness.run(worker, "shard_map", jnp.ones((8, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), r"`strength` must lie in \[0.0, 1.0\], got 1.5"),
        ((0.1, 0), "`period` must be an integer >= 1, got 0"),
    ],
)
def test_arguments_have_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.pull_to_leader(AXIS, *arguments)


def test_who_is_absent_never_leads():
    tx = jd.pull_to_leader(AXIS, 1.0)

    def worker(params, loss, weight):
        updates = jnp.zeros_like(params)
        return tx.update(updates, tx.init(params), params, value=loss, weight=weight)[0]

    params, losses = jnp.asarray([[0.0], [4.0], [9.0]]), jnp.asarray([1.0, 2.0, 3.0])
    pulls = jax.vmap(worker, axis_name=AXIS)(params, losses, jnp.asarray([0.0, 1, 1]))
    np.testing.assert_array_equal(params + pulls, [[4.0]] * 3)
