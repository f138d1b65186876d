"""Codes: what is decoded, by hand and on average; what fits no code."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.coding import problem

TABLE = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]], bool)
SIZES = np.array([3, 5, 2])


@pytest.fixture
def code():
    return jd.coding.Code("by hand", TABLE, SIZES)


def test_sizes(code):
    assert (code.num_workers, code.num_blocks, code.num_units) == (4, 3, 10)
    np.testing.assert_array_equal(code.loads, [3, 8, 5, 7])
    np.testing.assert_array_equal(code.num_messages, [1, 2, 1, 2])


def test_the_lowest_index_counts_for_each_block(code):
    decoded = code.decode(jnp.array([False, True, True, True]))
    np.testing.assert_array_equal(
        decoded.weights, [[0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]]
    )
    assert decoded.covered
    decoded = code.decode(jnp.array([True, False, True, False]))
    np.testing.assert_array_equal(decoded.weights[:, 2], 0)
    assert not decoded.covered


def test_the_earliest_holder_brings_a_block(code):
    holders = code.first_holders(jnp.array([4.0, 2.0, 2.0, 9.0]))
    np.testing.assert_array_equal(holders.worker, [1, 1, 3])
    np.testing.assert_array_equal(holders.time, [2, 2, 9])
    assert holders.worker.dtype == jnp.int32 and holders.time.dtype == jnp.float32
    assert code.finish_time(jnp.array([4.0, 2.0, 2.0, 9.0])) == 9


@pytest.mark.parametrize("never", [np.inf, np.nan])
def test_who_never_arrives_brings_nothing(code, never):
    times = jnp.array([4.0, 2.0, 2.0, never])
    holders = code.first_holders(times)
    np.testing.assert_array_equal(holders.worker, [1, 1, 0])
    np.testing.assert_array_equal(holders.time, [2, 2, np.inf])
    assert code.finish_time(times) == np.inf


def test_a_block_without_a_holder():
    code = jd.coding.Code("a gap", TABLE[:3], SIZES)
    assert not code.covers
    assert not code.decode(jnp.ones(3, bool)).covered
    assert code.finish_time(jnp.ones(3)) == np.inf
    np.testing.assert_array_equal(code.inclusion(3), [1, 1, 0])
    with pytest.raises(ValueError, match="`approximate` needs a code that covers"):
        code.approximate(jnp.ones(3, bool), 3)


def test_inclusion_is_a_share_of_sets(code):
    for k in range(5):
        sets = list(itertools.combinations(range(4), k))
        share = np.mean([TABLE[list(s)].any(axis=0) for s in sets], axis=0)
        np.testing.assert_allclose(code.inclusion(k), share, rtol=1e-14)


def test_inclusion_of_many_workers_is_exact():
    code = jd.coding.fractional_repetition(600, 2)
    exact = 1 - (597 * 596 * 595 / (600 * 599 * 598))
    np.testing.assert_allclose(code.inclusion(3), exact, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: jd.coding.Code("by hand", TABLE, SIZES),
        lambda: jd.coding.uncoded(5, 12),
        lambda: jd.coding.batched_coupons(8, 30, 10),
        lambda: jd.coding.fractional_repetition(6, 1),
        lambda: jd.coding.random_units([4, 7, 8, 9, 9], 10, key=1),
    ],
)
def test_the_approximate_sum_has_no_bias(make):
    code = make()
    exact = problem.unit_gradients(code.num_units).sum(axis=0)
    weigh = jax.vmap(code.approximate, (0, None))
    for k in range(1, code.num_workers + 1):
        sets = list(itertools.combinations(range(code.num_workers), k))
        arrived = np.zeros((len(sets), code.num_workers), bool)
        np.put_along_axis(arrived, np.array(sets), True, axis=1)
        mean = np.asarray(weigh(arrived, k), float).mean(axis=0)
        np.testing.assert_allclose(mean.sum(axis=0), 1, rtol=1e-6)
        found = problem.decoded_sum(code, mean)
        scale = np.abs(exact).max()
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * scale)


def test_the_approximate_sum_of_all_is_exact(code):
    everyone = jnp.ones(4, bool)
    np.testing.assert_array_equal(
        code.approximate(everyone, 4), code.decode(everyone).weights
    )


def test_a_linear_code_by_hand():
    """The first example of Tandon et al.: three workers, one straggler."""
    table = np.array([[0.5, 1, 0], [0, 1, -1], [0.5, 0, 1]])
    code = jd.coding.Code("by hand", table != 0, np.array([1, 1, 1]), table, 2)
    for missing, weights in enumerate([[0, 1, 2], [1, 0, 1], [2, -1, 0]]):
        decoded = code.decode(jnp.arange(3) != missing)
        np.testing.assert_allclose(decoded.weights, weights, atol=1e-6)
    np.testing.assert_array_equal(code.decode(jnp.arange(3) == 0).weights, 0)
    assert code.finish_time(jnp.array([3.0, 1.0, 2.0])) == 2
    np.testing.assert_array_equal(code.num_messages, 1)
    for method, arguments in (("first_holders", [SIZES]), ("approximate", [SIZES, 2])):
        with pytest.raises(ValueError, match=f"`{method}` needs a repetition code"):
            getattr(code, method)(*arguments)


def test_more_arrivals_make_smaller_weights():
    code = jd.coding.cyclic_repetition(8, 3)
    norms = []
    for k in range(5, 9):
        sets = list(itertools.combinations(range(8), k))
        arrived = np.zeros((len(sets), 8), bool)
        np.put_along_axis(arrived, np.array(sets), True, axis=1)
        weights = jax.jit(jax.vmap(code.decode))(arrived).weights
        norms.append(float(np.linalg.norm(weights, axis=1).max()))
    assert norms == sorted(norms, reverse=True) and norms[-1] < norms[0] / 3


def test_decoding_does_not_depend_on_the_conditioning():
    """Two workers nearly alike: weights are small, though the null space is not."""
    table = np.array([[1, 1], [1, 1 + 1e-5], [1, 1.0]])
    code = jd.coding.Code("nearly alike", table != 0, np.array([1, 1]), table, 1)
    decoded = code.decode(jnp.array([True, False, False]))
    np.testing.assert_allclose(decoded.weights, [1, 0, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"placement": TABLE.astype(int)}, "`placement` must be a bool NumPy array"),
        ({"placement": TABLE[0]}, "`placement`"),
        ({"placement": TABLE[:0]}, "`placement`"),
        ({"placement": TABLE.tolist()}, "`placement`"),
        ({"block_sizes": SIZES[:2]}, r"`block_sizes` .* shape \(3,\)"),
        ({"block_sizes": SIZES - 2}, "`block_sizes` .* at least 1"),
        ({"block_sizes": SIZES / 2}, "`block_sizes` must be an integer NumPy array"),
        ({"threshold": 0}, r"`threshold` must be in \[1, 4\], got 0"),
        ({"threshold": 5}, r"`threshold` must be in \[1, 4\], got 5"),
        ({"coefficients": np.ones((4, 3))}, "`coefficients` must be 0 where"),
        ({"coefficients": np.ones((4, 2))}, r"`coefficients` .* \(4, 3\)"),
        ({"coefficients": TABLE * 1.0}, "`threshold` of the linear code by hand"),
        ({"coefficients": TABLE * 0.0, "threshold": 3}, "`coefficients` of all"),
    ],
)
def test_what_fits_no_code(changed, error):
    with pytest.raises(ValueError, match=error):
        jd.coding.Code(
            **({"name": "by hand", "placement": TABLE, "block_sizes": SIZES} | changed)
        )


@pytest.mark.parametrize("k", [-1, 5, 1.5, True])
def test_arrivals_out_of_range(code, k):
    with pytest.raises(ValueError, match=r"`num_arrivals` must be in \[0, 4\], got"):
        code.inclusion(k)
    with pytest.raises(ValueError, match=r"`num_arrivals` must be in \[1, 4\], got"):
        code.approximate(jnp.ones(4, bool), k)


def test_codes_are_constants_of_a_program(code):
    traces = []

    @jax.jit
    def program(times):
        traces.append(1)
        return code.finish_time(times), code.decode(times < 3)

    for seed in range(3):
        program(jnp.full(4, float(seed)))
    assert len(traces) == 1
    assert math.isfinite(program(jnp.ones(4))[0])
