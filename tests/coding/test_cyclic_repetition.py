"""Cyclic repetition: exact over all sets of survivors, where weights are small."""

import itertools

import jax
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.coding import _cyclic_repetition


def largest_error(code):
    """Return how far from 1 any unit counts, over all sets of just enough workers."""
    sets = list(itertools.combinations(range(code.num_workers), code.threshold))
    arrived = np.zeros((len(sets), code.num_workers), bool)
    np.put_along_axis(arrived, np.array(sets), True, axis=1)
    decoded = jax.jit(jax.vmap(code.decode))(arrived)
    assert decoded.covered.all()
    return np.abs(np.asarray(decoded.weights, float) @ code.coefficients - 1).max()


@pytest.mark.parametrize(
    ("workers", "stragglers", "error"),
    [(4, 1, 1e-6), (6, 2, 1e-5), (8, 3, 1e-5), (10, 3, 5e-5), (5, 4, 1e-5)],
)
def test_all_sets_of_survivors_in_float32(workers, stragglers, error):
    assert largest_error(jd.coding.cyclic_repetition(workers, stragglers)) < error


@pytest.mark.parametrize(("workers", "stragglers"), [(8, 3), (10, 3), (12, 3)])
def test_all_sets_of_survivors_in_float64(workers, stragglers):
    with jax.enable_x64(True):
        code = jd.coding.cyclic_repetition(workers, stragglers)
        assert code.decode(np.ones(workers, bool)).weights.dtype == np.float64
        assert largest_error(code) < 1e-12


def test_each_worker_holds_neighbouring_blocks():
    code = jd.coding.cyclic_repetition(5, 1, 12)
    np.testing.assert_array_equal(
        code.placement,
        np.array(
            [
                [1, 1, 0, 0, 0],
                [0, 1, 1, 0, 0],
                [0, 0, 1, 1, 0],
                [0, 0, 0, 1, 1],
                [1, 0, 0, 0, 1],
            ]
        ),
    )
    np.testing.assert_array_equal(np.diag(code.coefficients), 1)
    assert not code.coefficients[~code.placement].any()
    assert code.num_units == 12 and code.name == "cyclic_repetition(5, 1, 12)"


def test_no_straggler_is_no_code():
    code = jd.coding.cyclic_repetition(4, 0)
    np.testing.assert_array_equal(code.coefficients, np.eye(4))
    np.testing.assert_array_equal(code.decode(np.ones(4, bool)).weights, 1)


def test_weights_that_are_too_large_are_refused():
    with pytest.raises(ValueError) as caught:
        jd.coding.cyclic_repetition(16, 4)
    said = str(caught.value)
    assert (
        "`num_stragglers` of cyclic_repetition(16, 4) must leave weights up to" in said
    )
    for way_out in ("fractional_repetition", "batched_coupons", "`key`", "x64"):
        assert way_out in said
    with jax.enable_x64(True):
        assert largest_error(jd.coding.cyclic_repetition(16, 4)) < 1e-9


def single_draw(workers, stragglers, seed):
    normal = np.random.default_rng(seed).standard_normal((stragglers, workers))
    table = _cyclic_repetition._cyclic_coefficients(normal)
    sets = _cyclic_repetition._straggler_sets(workers, stragglers)
    return _cyclic_repetition.largest_weight(table, sets)


@pytest.mark.parametrize(
    ("workers", "stragglers", "least"),
    [(4, 1, 2), (6, 2, 10), (8, 3, 80), (10, 3, 300)],
)
def test_weights_of_single_draws_explode(workers, stragglers, least):
    """The median over 20 draws; 64 draws have one that is much better."""
    single = np.median([single_draw(workers, stragglers, seed) for seed in range(20)])
    assert least < single < 10 * least
    code = jd.coding.cyclic_repetition(workers, stragglers)
    sets = _cyclic_repetition._straggler_sets(workers, stragglers)
    best = _cyclic_repetition.largest_weight(code.coefficients, sets)
    assert best < single / 2


def test_the_largest_weight_is_that_of_plain_least_squares():
    table = jd.coding.cyclic_repetition(6, 2).coefficients
    sets = list(itertools.combinations(range(6), 2))
    plain = [
        np.linalg.lstsq(np.delete(table, gone, 0).T, np.ones(6), rcond=None)[0]
        for gone in sets
    ]
    found = _cyclic_repetition.largest_weight(table, np.array(sets))
    assert found == pytest.approx(np.abs(plain).max(), rel=1e-9)


def test_too_many_sets_are_sampled():
    sets = _cyclic_repetition._straggler_sets(40, 8)
    assert sets.shape == (_cyclic_repetition._MOST_SETS, 8)
    assert np.all(np.diff(np.sort(sets, axis=1), axis=1) > 0)
    assert _cyclic_repetition._straggler_sets(3, 0).shape == (1, 0)


def test_keys_draw_different_codes():
    first, again, other = (
        jd.coding.cyclic_repetition(6, 2, key=key).coefficients for key in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
