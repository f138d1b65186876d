"""The step is limited by the distance that parameters went since they were read."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd


def moved(tx, updates, params, stale_params):
    return tx.update(updates, tx.init(params), params, stale_params=stale_params)[0]


@pytest.mark.parametrize(
    ("distance", "step"),
    [(0.0, 0.5), (1e-30, 0.5), (0.1, 0.5), (1.0, 0.2), (2.0, 0.05), (1e30, 0.0)],
)
def test_step_of_the_paper(distance, step):
    """With C = 0.2 and a longest step of 0.5."""
    tx = jd.limit_step_by_distance(0.2, 0.5)
    out = moved(tx, jnp.array([3.0, -1.0]), jnp.array([distance, 0.0]), jnp.zeros(2))
    np.testing.assert_allclose(out, -step * np.array([3.0, -1.0]), rtol=1e-6)


def test_the_distance_is_that_of_all_leaves():
    tx = jd.limit_step_by_distance(1.0, 1.0)
    params = {
        "w": jnp.full((2, 2), 1.5),
        "half": jnp.full(4, 2.0, jnp.bfloat16),
        "empty": jnp.zeros((0, 3)),
        "complex": jnp.array([3j]),
    }
    updates = jax.tree.map(jnp.ones_like, params)
    out = moved(tx, updates, params, jax.tree.map(jnp.zeros_like, params))
    step = 1 / (4 * 1.5**2 + 4 * 4 + 9)
    np.testing.assert_allclose(out["w"], np.full((2, 2), -step), rtol=1e-6)
    np.testing.assert_array_equal(out["half"], jnp.full(4, -step, jnp.bfloat16))
    np.testing.assert_allclose(out["complex"], [-step], rtol=1e-6)
    assert out["empty"].shape == (0, 3)


def test_squares_of_narrow_floats_do_not_overflow():
    tx = jd.limit_step_by_distance(1e6, 1.0)
    params = jnp.full(4, 1000.0, jnp.float16)  # a square of 1e6 is no float16
    out = moved(tx, jnp.ones(4, jnp.float16), params, jnp.zeros_like(params))
    np.testing.assert_allclose(out.astype(jnp.float32), np.full(4, -0.25), rtol=1e-3)


def test_each_worker_has_a_step_of_its_own():
    tx = optax.chain(jd.limit_step_by_distance(1.0, 1.0), jd.aggregate("w"))

    def worker(gradient, stale):
        params = jnp.zeros(1)
        return tx.update(gradient, tx.init(params), params, stale_params=stale)[0]

    stale = jnp.array([[0.0], [2.0]])
    mapped = jax.jit(jax.vmap(worker, out_axes=None, axis_name="w"))
    np.testing.assert_allclose(mapped(jnp.ones((2, 1)), stale), [-(1 + 0.25) / 2])


def test_a_limited_step_is_stable_where_a_fixed_one_is_not():
    """On x^2 / 2 with a delay of 5 the limit of a fixed step is 0.2846."""

    def far(inner):
        tx = jd.delay_updates(5, inner=inner)

        def step(carry, _):
            x, state = carry
            updates, state = tx.update(x, state, x)
            return (x + updates, state), jnp.abs(x + updates)

        start = jnp.ones(())
        return jax.lax.scan(step, (start, tx.init(start)), length=300)[1][-50:].max()

    assert far(optax.sgd(0.5)) > 1e3
    assert far(jd.limit_step_by_distance(0.05, 0.5)) < 2.0


def test_missing_arguments():
    tx = jd.limit_step_by_distance(1.0, 1.0)
    ones = jnp.ones(2)
    with pytest.raises(ValueError, match="limit_step_by_distance needs `params`"):
        tx.update(ones, tx.init(ones), stale_params=ones)
    with pytest.raises(ValueError, match="limit_step_by_distance needs `stale_params`"):
        tx.update(ones, tx.init(ones), ones)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1.0), r"`constant` must lie in \(0.0, inf\), got 0.0"),
        ((1.0, -1.0), r"`max_step` must lie in \(0.0, inf\), got -1.0"),
    ],
)
def test_arguments_have_ranges(arguments, message):
    with pytest.raises(ValueError, match=message):
        jd.limit_step_by_distance(*arguments)
