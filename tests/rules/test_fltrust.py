"""FLTrust: trust, rescaling, and what nobody can do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

REFERENCE = jnp.array([3.0, 4.0])


def test_trust_is_the_cosine_and_norms_are_the_references():
    rows = jnp.array([[6.0, 8.0], [50.0, 0.0], [-3.0, -4.0]])
    # Cosines 1, 0.6 and -1; rescaled (3, 4) and (5, 0).
    expected = (np.array([3.0, 4.0]) + 0.6 * np.array([5.0, 0.0])) / 1.6
    got = jax.jit(jd.rules.fltrust())(rows, anchor=REFERENCE)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_no_length_buys_trust(scale):
    rows = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    expected = jax.jit(jd.rules.fltrust())(rows, anchor=REFERENCE)
    got = jax.jit(jd.rules.fltrust())(rows.at[1].multiply(scale), anchor=REFERENCE)
    np.testing.assert_allclose(got, expected, rtol=1e-3)


@pytest.mark.parametrize("scale", [1e-4, 1e-6, 1e-8, 1e-12])
def test_rounding_errors_buy_no_trust(scale):
    """Many tiny gradients that point the other way: none has the luck to be heard."""
    rng = np.random.default_rng(0)
    liars = rng.standard_normal((30, 50)).astype(np.float32)
    reference = jnp.asarray(rng.standard_normal(50), jnp.float32)
    liars *= -np.sign(liars @ reference)[:, None] * scale
    rows = jnp.concatenate([3 * reference[None], jnp.asarray(liars)])
    got = jax.jit(jd.rules.fltrust())(rows, anchor=reference)
    np.testing.assert_allclose(got, reference, rtol=1e-4, atol=1e-5)


def test_nobody_trusted_gives_zero():
    rows = jnp.array([[-1.0, 0.0], [0.0, 0.0], [jnp.nan, 1.0]])
    np.testing.assert_array_equal(
        jax.jit(jd.rules.fltrust())(rows, anchor=REFERENCE), [0, 0]
    )
    bad = REFERENCE.at[0].set(jnp.nan)
    np.testing.assert_array_equal(
        jax.jit(jd.rules.fltrust())(-rows, anchor=bad), [0, 0]
    )
    zero = jnp.zeros(2)
    np.testing.assert_array_equal(
        jax.jit(jd.rules.fltrust())(-rows, anchor=zero), [0, 0]
    )


def test_all_but_one_may_lie():
    rng = np.random.default_rng(0)
    rows = 100 * rng.standard_normal((8, 2)).astype(np.float32)
    rows[:7] = np.where(rows[:7] @ REFERENCE < 0, 1, -1)[:, None] * rows[:7]
    rows[7] = REFERENCE
    np.testing.assert_allclose(
        jax.jit(jd.rules.fltrust())(rows, anchor=REFERENCE), REFERENCE, rtol=1e-5
    )


def test_needs_a_reference():
    with pytest.raises(ValueError, match=r"`anchor` must be .* fltrust\(\)"):
        jd.rules.fltrust()(jnp.ones((3, 2)))
