"""Gradient sparsification: the paper's probabilities, and a policy for little room."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.compression import _gspar
from jaxdist.compression.numerics import _sampling
from tests import statistics

REFERENCE = jnp.asarray([4.0, 3, 2, 1, -1])
SKEWED = np.random.default_rng(0).standard_t(1.5, 300).astype(np.float32)


def of_variance(vector, variance):
    """Return the probabilities for a variance budget."""
    sizes = _sampling.relative_magnitudes(jnp.asarray(vector))
    level = _gspar.variance_level(sizes, variance)
    return np.asarray(_sampling.keep_probabilities(sizes, level), np.float64)


def closed_form(vector, variance):
    """Return the probabilities of Algorithm 2, by sorting in float64."""
    sizes = np.sort(np.abs(vector.astype(np.float64)))[::-1]
    allowed = variance * (sizes**2).sum()
    for k in range(len(sizes)):
        rest = sizes[k:]
        if sizes[k] * rest.sum() <= allowed + (rest**2).sum():
            break
    level = rest.sum() / (allowed + (rest**2).sum())
    return np.minimum(level * np.abs(vector.astype(np.float64)), 1)


def second_moment(vector, chances):
    return (np.asarray(vector, np.float64) ** 2 / chances).sum()


@pytest.mark.parametrize(
    ("variance", "expected"),
    [
        (0.25, [1, 0.923077, 0.615385, 0.307692, 0.307692]),
        (0.5, [0.946237, 0.709677, 0.473118, 0.236559, 0.236559]),
        (1.0, [0.709677, 0.532258, 0.354839, 0.177419, 0.177419]),
    ],
)
def test_reference_probabilities_of_a_variance(variance, expected):
    seen = of_variance(REFERENCE, variance)
    np.testing.assert_allclose(seen, expected, atol=1e-6)
    moment = second_moment(REFERENCE, seen)
    assert moment == pytest.approx((1 + variance) * 31, rel=1e-6)


@pytest.mark.parametrize("variance", [0.01, 0.3, 5.0, 40.0])
def test_newton_finds_the_closed_form(variance):
    seen = of_variance(SKEWED, variance)
    np.testing.assert_allclose(seen, closed_form(SKEWED, variance), rtol=1e-5)
    squares = (SKEWED.astype(np.float64) ** 2).sum()
    assert second_moment(SKEWED, seen) == pytest.approx(squares * (1 + variance))


@pytest.mark.parametrize("variance", [0.3, 5.0])
def test_is_atomo_for_the_sum_of_its_probabilities(variance):
    seen = of_variance(SKEWED, variance)
    sizes = _sampling.relative_magnitudes(jnp.asarray(SKEWED))
    level = _sampling.water_level(sizes, float(seen.sum()))
    np.testing.assert_allclose(
        _sampling.keep_probabilities(sizes, level), seen, rtol=1e-5
    )
    np.testing.assert_allclose(of_variance(1e-30 * SKEWED, variance), seen, rtol=1e-5)


def test_greedy_steps_of_the_reference_vector():
    sizes = _sampling.relative_magnitudes(REFERENCE)
    chances = [
        _sampling.keep_probabilities(sizes, _sampling.greedy_level(sizes, 3.0, steps))
        for steps in (0, 1, 2)
    ]
    np.testing.assert_allclose(
        chances[0], [1, 0.818182, 0.545455, 0.272727, 0.272727], atol=1e-6
    )
    for seen in chances[1:]:
        np.testing.assert_allclose(
            seen, [1, 0.857143, 0.571429, 0.285714, 0.285714], atol=1e-6
        )


@pytest.mark.parametrize("budget", [0.05, 0.5, 0.75])
def test_no_greedy_step_is_worse_than_uniform_sampling(budget):
    """On random vectors of few values, where it is tight."""
    rng = np.random.default_rng(0)
    vectors = rng.choice([1e-3, 0.1, 0.3, 1.0], (500, 40), p=[0.3, 0.3, 0.3, 0.1])
    sizes = jnp.asarray(vectors, jnp.float32)
    level = _sampling.greedy_level(sizes, 40 * budget, 0)
    chances = np.asarray(_sampling.keep_probabilities(sizes, level), np.float64)
    moments = (vectors**2 / chances).sum(axis=1)
    assert (moments <= (vectors**2).sum(axis=1) / budget * (1 + 1e-5)).all()


def measured_variance(compressor, leaf):
    seen = statistics.draws(compressor, jnp.asarray(leaf), 4000)
    exact = np.asarray(leaf, np.float64)
    return ((seen - exact) ** 2).sum(axis=1).mean() / (exact**2).sum()


def test_variance_is_kept_with_fewer_elements_than_there_is_room_for():
    compressor = jd.compression.gspar(variance=0.5)
    assert measured_variance(compressor, SKEWED) == pytest.approx(0.5, rel=0.1)
    assert compressor.contract.variance(300) == pytest.approx(0.5, rel=1e-3)
    seen = statistics.draws(compressor, jnp.asarray(SKEWED), 100)
    room = int(np.ceil(300 / 1.5))
    assert (seen != 0).sum(axis=1).max() < 0.5 * room


def test_little_room_costs_variance_and_nothing_else():
    """Equal magnitudes need 2/3 of the elements; there is room for a tenth."""
    compressor = jd.compression.gspar(variance=0.5, max_density=0.1)
    leaf = jnp.ones(100)
    assert measured_variance(compressor, leaf) == pytest.approx(9, rel=0.01)
    assert compressor.contract.variance(100) == pytest.approx(9, rel=0.01)
    assert statistics.bias_over_bound(compressor, leaf) < 1
    seen = statistics.draws(compressor, leaf, 100)
    assert set((seen != 0).sum(axis=1)) <= {9, 10}


def test_exactly_one_budget_is_given():
    for arguments in ({}, {"density": 0.1, "variance": 1.0}):
        with pytest.raises(ValueError, match="Exactly one of `density` and `variance`"):
            jd.compression.gspar(**arguments)
    with pytest.raises(ValueError, match="`max_density` must be None when `density`"):
        jd.compression.gspar(0.1, max_density=0.2)


@pytest.mark.parametrize(
    "arguments",
    [{"density": 0}, {"variance": 0.0}, {"variance": 1.0, "max_density": 1.5}],
)
def test_arguments_have_ranges(arguments):
    name = list(arguments)[-1]
    with pytest.raises(ValueError, match=f"`{name}` must lie in"):
        jd.compression.gspar(**arguments)
