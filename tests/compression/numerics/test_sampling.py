"""Systematic sampling: exact marginals, and a count that never overflows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _sampling

probability_units = jax.jit(_sampling.probability_units, static_argnums=2)
crossed_targets = jax.jit(_sampling._crossed_targets, static_argnums=3)
REFERENCE = np.asarray([4, 3, 2, 1, -1], np.float32)
SKEWED = np.random.default_rng(0).standard_t(1.2, (6, 500)).astype(np.float32)


def chances(chunks, budget):
    return np.asarray(_chances(np.asarray(chunks), budget), np.float64)


@functools.partial(jax.jit, static_argnums=1)
def _chances(chunks, budget):
    sizes = _sampling.relative_magnitudes(chunks)
    return _sampling.keep_probabilities(sizes, _sampling.water_level(sizes, budget))


def water_filling_by_sorting(vector, budget):
    """Return the optimal probabilities in float64: Algorithm 1 of ATOMO."""
    order = np.argsort(-np.abs(vector), kind="stable")
    sizes = np.abs(vector[order]).astype(np.float64)
    tails = np.cumsum(sizes[::-1])[::-1]
    ranks = np.arange(len(sizes))
    first = np.argmax(sizes * (budget - ranks) <= tails)
    result = np.ones(len(sizes))
    result[first:] = (budget - first) * sizes[first:] / tails[first]
    return result[np.argsort(order)]


@pytest.mark.parametrize(
    ("budget", "expected", "second_moment"),
    [
        (1, [0.363636, 0.272727, 0.181818, 0.090909, 0.090909], 121),
        (2, [0.727273, 0.545455, 0.363636, 0.181818, 0.181818], 60.5),
        (2.75, [1, 0.75, 0.5, 0.25, 0.25], 44),
        (3, [1, 0.857143, 0.571429, 0.285714, 0.285714], 40.5),
        (4, [1, 1, 1, 0.5, 0.5], 33),
        (5, [1, 1, 1, 1, 1], 31),
    ],
)
def test_reference_probabilities(budget, expected, second_moment):
    seen = chances(REFERENCE, budget)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    squares = np.asarray(REFERENCE, np.float64) ** 2
    assert (squares / seen).sum() == pytest.approx(second_moment, rel=1e-6)


@pytest.mark.parametrize("budget", [1, 5.5, 50, 300])
def test_newton_finds_what_sorting_finds(budget):
    seen = chances(SKEWED, budget)
    for row, vector in zip(seen, SKEWED, strict=True):
        exact = water_filling_by_sorting(vector, budget)
        np.testing.assert_allclose(row, exact, rtol=1e-5)
        squares = vector.astype(np.float64) ** 2
        assert (squares / row).sum() == pytest.approx((squares / exact).sum(), rel=1e-6)
    np.testing.assert_allclose(seen.sum(axis=1), budget, rtol=1e-5)


def test_newton_finds_levels_far_apart():
    vector = 10.0 ** -np.arange(30, dtype=np.float32)
    np.testing.assert_allclose(
        chances(vector, 20.0), water_filling_by_sorting(vector, 20.0), rtol=1e-4
    )


@pytest.mark.parametrize("norm", [2, np.inf])
def test_budget_of_qsgd_and_terngrad(norm):
    r"""With :math:`s=\|v\|_1/\|v\|_q` the kept elements all become \|v\|_q."""
    vector = np.asarray(REFERENCE, np.float64)
    scale = np.linalg.norm(vector, norm)
    seen = chances(REFERENCE, np.abs(vector).sum() / scale)
    np.testing.assert_allclose(seen, np.abs(vector) / scale, rtol=1e-6)


def test_order_and_scale_of_the_elements_do_not_matter():
    order = np.random.default_rng(1).permutation(500)
    one = chances(SKEWED, 40.0)
    np.testing.assert_allclose(chances(SKEWED[:, order], 40.0), one[:, order], 1e-5)
    np.testing.assert_allclose(chances(1e30 * SKEWED, 40.0), one, rtol=1e-5)


@pytest.mark.parametrize("capacity", [1, 7, 60, 499, 500])
@pytest.mark.parametrize("kind", ["skewed", "flat", "spread", "two"])
def test_units_fit_into_the_capacity(capacity, kind):
    rows = {
        "skewed": SKEWED,
        "flat": np.ones((1, 500), np.float32),
        "spread": np.float32(10) ** np.linspace(-37, 37, 500, dtype=np.float32)[None],
        "two": np.eye(1, 500, 3, np.float32) + np.eye(1, 500, 400, np.float32),
    }[kind]
    sampler = _sampling.Sampler(500, capacity)
    probability = jnp.asarray(chances(rows, sampler.budget), jnp.float32)
    units = probability_units(probability, rows, sampler)
    total = np.asarray(units, np.int64).sum(axis=1)
    assert (total <= capacity << sampler.bits).all()
    assert ((np.asarray(units) > 0) == (rows != 0)).all()
    if kind in ("skewed", "flat"):  # what is lost to rounding is little
        assert (total > 0.999 * (capacity << sampler.bits)).all()


@pytest.mark.parametrize("capacity", [2, 20])
def test_marginals_are_exact_over_all_offsets(capacity):
    """With few bits every offset can be tried: each element is taken units times."""
    rng = np.random.default_rng(2)
    whole = 64
    units = rng.integers(0, 9, 97).astype(np.uint32)
    units[[5, 50]] = 0, whole
    units = units * (np.cumsum(units) <= capacity * whole)
    offsets = jnp.arange(whole, dtype=jnp.uint32)
    rows = np.broadcast_to(units, (whole, 97))
    seen = np.asarray(
        crossed_targets(rows, offsets, jnp.uint32(whole), capacity), np.int64
    )
    taken = np.bincount(seen[seen < 97], minlength=97)
    np.testing.assert_array_equal(taken, units)
    counts = (seen < 97).sum(axis=1)
    mean = units.sum() / whole
    assert set(counts) <= {int(np.floor(mean)), int(np.ceil(mean))}


def test_searching_in_runs_and_in_elements_agrees():
    units = jnp.asarray(np.random.default_rng(3).integers(0, 50, (4, 1000)), jnp.uint32)
    offset = jnp.zeros(4, jnp.uint32)
    few = crossed_targets(units, offset, jnp.uint32(64), 20)
    many = crossed_targets(units, offset, jnp.uint32(64), 900)
    np.testing.assert_array_equal(few, many[:, :20])


def test_greedy_rises_to_the_water_level():
    sizes = _sampling.relative_magnitudes(jnp.asarray(SKEWED))
    exact = _sampling.water_level(sizes, 50.0)
    levels = [_sampling.greedy_level(sizes, 50.0, n) for n in (0, 1, 2, 40)]
    for low, high in zip(levels, levels[1:], strict=False):
        assert (np.asarray(low) <= np.asarray(high)).all()
    np.testing.assert_allclose(levels[-1], exact, rtol=1e-6)


def test_what_is_not_finite_counts_as_the_largest():
    sizes = _sampling.relative_magnitudes(jnp.asarray([jnp.nan, -3.0, jnp.inf, 1.5]))
    np.testing.assert_allclose(sizes, [1, 1, 1, 0.5])


def test_narrowing_keeps_finite_values_finite():
    seen = _sampling.narrowed_values(
        jnp.asarray([1e6, -1e6, jnp.inf, 1.0]), jnp.float16
    )
    np.testing.assert_array_equal(seen, [65504, -65504, np.inf, 1])


def test_chunks_draw_independently():
    chunks = jnp.ones((200, 10))
    sampler = _sampling.Sampler(10, 1)
    units = probability_units(jnp.full((200, 10), 0.1), chunks, sampler)
    draw = jax.jit(_sampling.draw_elements, static_argnums=3)
    _, indices = draw(jax.random.key(0), chunks, units, sampler)
    counts = np.bincount(np.asarray(indices).ravel(), minlength=10)
    assert counts.min() > 5
