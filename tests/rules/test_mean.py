"""Mean: the one rule that trusts everybody."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.rules import golden


def test_golden_values():
    np.testing.assert_allclose(
        jax.jit(jd.rules.mean())(golden.ROWS), golden.MEAN, rtol=1e-5
    )


def test_one_bad_worker_is_enough():
    assert not np.isfinite(
        jax.jit(jd.rules.mean())(jnp.array([[1.0], [jnp.nan]]))
    ).any()


def test_narrow_floats_are_added_in_float32():
    rows = jnp.full((1000, 1), 1.0, jnp.bfloat16)
    assert jax.jit(jd.rules.mean())(rows).dtype == jnp.bfloat16
    np.testing.assert_array_equal(jax.jit(jd.rules.mean())(rows), [1.0])


def test_weights_are_divided_by_their_sum():
    rows = golden.ROWS[:4]
    expected = np.average(np.asarray(rows, np.float64), axis=0, weights=[3, 0, 1, 2])
    np.testing.assert_allclose(
        jax.jit(jd.rules.mean([3, 0, 1, 2]))(rows), expected, rtol=1e-5
    )


def test_weights_hold_for_every_route():
    rows = jax.random.normal(jax.random.key(0), (8, 21))
    rule = jd.rules.mean(range(8))
    for route in ("gather", "scatter"):
        tx = jd.aggregate(harness.AXIS, rule, route=route)

        def worker(row, tx=tx):
            return tx.update(row, tx.init(row))[0]

        merged = harness.run(worker, "vmap", rows)
        np.testing.assert_allclose(merged[0], jax.jit(rule)(rows), rtol=1e-5)
    with pytest.raises(ValueError, match="`route` 'psum' cannot carry"):
        jd.communication_report(jd.aggregate("data", rule, route="psum"), rows[0], 8)


def test_a_worker_without_weight_is_not_looked_at():
    rows = jnp.array([[1.0], [3.0], [jnp.nan]])
    np.testing.assert_array_equal(jax.jit(jd.rules.mean([1, 1, 0]))(rows), [2.0])
    assert np.isnan(jax.jit(jd.rules.mean([1, 0, 1]))(rows)).all()


def test_nobody_buys_influence():
    with pytest.raises(ValueError, match=r"`weights`.*than 0.5 .*worker 1 has 0.6\."):
        jd.rules.mean([1, 3, 1])
    with pytest.raises(ValueError, match=r"`weights`.*than 0.3 .*worker 0 has 0.4\."):
        jd.rules.mean([2, 1, 1, 1], max_share=0.3)
    rows = jnp.array([[1.0], [3.0]])
    np.testing.assert_array_equal(
        jax.jit(jd.rules.mean([1, 3], max_share=0.75))(rows), [2.5]
    )


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1], r"`weights\[1\]` must lie in \[0, inf\), got -1"),
        ([np.nan, 1], r"`weights\[0\]` must lie .* got nan"),
        ([1, np.inf], r"`weights\[1\]` must lie .* got inf"),
        ([0, 0], "`weights` must have a positive, finite sum, got one of 0.0"),
        ([], "`weights` must have a positive, finite sum, got one of 0.0"),
    ],
)
def test_weights_are_finite_and_not_negative(weights, message):
    with pytest.raises(ValueError, match=message):
        jd.rules.mean(weights)


def test_weights_need_a_worker_each_and_a_bound_needs_weights():
    with pytest.raises(ValueError, match="`weights` must hold .* 3 workers, got 2"):
        jd.rules.mean([1, 1])(jnp.ones((3, 1)))
    with pytest.raises(ValueError, match="`max_share` bounds `weights`.* got 0.5"):
        jd.rules.mean(max_share=0.5)
    with pytest.raises(ValueError, match=r"`max_share` must lie in \(0, 1\], got 0"):
        jd.rules.mean([1, 1], max_share=0)
