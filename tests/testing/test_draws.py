"""Sums over draws, against the plain ones."""

import numpy as np

import jaxdist as jd
from jaxdist.testing import _draws, _inputs
from tests.testing import defects
from tests.testing.test_run import setting


def test_sums_are_those_of_the_draws():
    rng = np.random.default_rng(0)
    drawn = _draws.normed_leaf(
        rng.standard_normal((20, 8)), rng.standard_normal((20, 8))
    )
    sums = _draws._sums_of(drawn, "flat", 2, bias=True)
    labels = _draws.class_labels(8, "flat")
    assert len(labels) == len(sums.totals) == len(sums.squares) == len(sums.weights)
    leaves, errors = drawn
    for label, samples in {
        "along the leaf": np.sum(leaves * errors, axis=1),
        "of the negative elements": np.sum((leaves < 0) * errors, axis=1),
        "of the last quarter of the elements, outward": np.sum(
            (np.sign(leaves) * errors)[:, 6:], axis=1
        ),
        "of element 3": errors[:, 3],
        "of element 3, outward": np.sign(leaves[:, 3]) * errors[:, 3],
    }.items():
        place = labels.index(label)
        np.testing.assert_allclose(sums.totals[place], samples.sum())
        np.testing.assert_allclose(sums.squares[place], np.sum(samples**2))
    ratio = np.sum(errors[:, :4] ** 2, axis=1) / np.sum(leaves[:, :4] ** 2, axis=1)
    np.testing.assert_allclose(sums.error[0], ratio.sum())
    np.testing.assert_allclose(sums.error_squares[0], np.sum(ratio**2))


def test_errors_are_relative_even_where_squares_overflow():
    leaves = np.full((1, 4), 1e30, np.float32)
    drawn = _draws.normed_leaf(leaves, 1.5 * leaves)
    np.testing.assert_allclose(drawn.leaves, 0.5)
    np.testing.assert_allclose(drawn.errors, 0.25, rtol=1e-6)


def test_a_block_of_zeros_that_does_not_stay_zero_has_no_bound():
    drawn = _draws.Errors(np.array([[1.0, 0, 0, 0]]), np.array([[0.5, 0, 0, 0.1]]))
    np.testing.assert_array_equal(_draws._error_ratios(drawn, 2), [[0.25, np.inf]])


def test_all_draws_count_and_none_is_drawn_twice():
    sums = _draws.error_sums(setting(defects.rounding(), num_draws=1500), "normal", 1)
    assert sums.num_draws == 2048
    parts = list(_draws.draw_chunks(setting(jd.compression.identity()), "normal", 1500))
    assert [chunk for _, chunk in parts] == [0, 1]
    assert not np.array_equal(parts[0][0], parts[1][0])
    places = [_draws.place_of(kind) for kind in _inputs.EXTREME]
    assert len(set(places)) == len(places)
