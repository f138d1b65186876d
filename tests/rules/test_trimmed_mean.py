"""Trimmed mean: golden values, closed forms, and values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.rules import golden


def test_golden_values():
    merged = jax.jit(jd.rules.trimmed_mean(3))(golden.ROWS)
    np.testing.assert_allclose(merged, golden.TRIMMED_MEAN, rtol=1e-5)


def test_trimming_nobody_is_the_mean():
    np.testing.assert_allclose(
        jax.jit(jd.rules.trimmed_mean(0))(golden.ROWS),
        jax.jit(jd.rules.mean())(golden.ROWS),
        rtol=1e-6,
    )


def test_trimming_all_but_one_is_the_median():
    rows = golden.ROWS
    np.testing.assert_allclose(
        jax.jit(jd.rules.trimmed_mean(5))(rows),
        jax.jit(jd.rules.median())(rows),
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("num_bad", range(3))
def test_what_is_not_finite_counts_as_trimmed(num_bad):
    rows = np.random.default_rng(0).standard_normal((9, 20)).astype(np.float32)
    rest = 2 - num_bad
    kept = np.sort(rows[num_bad:], axis=0)[rest : 9 - num_bad - rest]
    rows[:num_bad] = [[np.nan], [-np.inf]][:num_bad] or rows[:0]
    merged = jax.jit(jd.rules.trimmed_mean(2))(rows)
    np.testing.assert_allclose(merged, kept.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_more_than_tolerated_give_zero():
    rows = jnp.array([[1.0], [jnp.nan], [jnp.inf], [2.0], [3.0]])
    np.testing.assert_array_equal(jax.jit(jd.rules.trimmed_mean(1))(rows), [0.0])


@pytest.mark.parametrize(("share", "bias"), [(0.1, 0.2131), (0.2, 0.4237)])
def test_bias_under_infinite_outliers(share, bias):
    """phi(z) / (1 - k) with k = a / (1 - a) and z the k-quantile, for huge values."""
    num_bad = int(100 * share)
    rows = np.random.default_rng(1).standard_normal((100, 20_000)).astype(np.float32)
    rows[:num_bad] = 1e9
    merged = float(jax.jit(jd.rules.trimmed_mean(num_bad))(rows).mean())
    assert merged == pytest.approx(bias, abs=0.01)


@pytest.mark.parametrize(
    ("fraction", "num_workers", "count"),
    [(0.1, 9, 1), (0.2, 16, 4), (0.07, 100, 7), (0.29, 100, 29), (0, 5, 0)],
)
def test_a_fraction_is_rounded_up(fraction, num_workers, count):
    rule = jd.rules.trimmed_mean(fraction=fraction)
    assert rule.contract.tolerated(num_workers) == count


def test_one_of_a_count_and_a_fraction():
    for arguments in ({}, {"num_byzantine": 1, "fraction": 0.1}):
        with pytest.raises(ValueError, match="`num_byzantine` or `fraction` must be"):
            jd.rules.trimmed_mean(**arguments)
    with pytest.raises(ValueError, match=r"`fraction` must lie in \[0, 0.5\), got 0.5"):
        jd.rules.trimmed_mean(fraction=0.5)
    with pytest.raises(ValueError, match=r"`num_byzantine` must lie in \[0, 1\] .*3"):
        jd.rules.trimmed_mean(fraction=0.45)(jnp.ones((3, 1)))
