"""The network sorts whatever it is given."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.rules.numerics import _sorting


@pytest.mark.parametrize("num_rows", range(1, 13))
def test_sorts_all_zeros_and_ones(num_rows):
    """By the 0-1 principle, this proves that it sorts everything."""
    columns = np.array(list(itertools.product([0.0, 1.0], repeat=num_rows))).T
    ordered = np.array(columns)
    for low, high in _sorting.network_comparators(num_rows):
        ordered[low], ordered[high] = (
            np.minimum(ordered[low], ordered[high]),
            np.maximum(ordered[low], ordered[high]),
        )
    np.testing.assert_array_equal(ordered, np.sort(columns, axis=0))
    many = jax.jit(_sorting.sort_many)(columns.astype(np.float32))
    np.testing.assert_array_equal(many, np.sort(columns, axis=0))


@pytest.mark.parametrize("num_rows", [16, 33, 64])
def test_sorts_many_rows(num_rows):
    rows = np.random.default_rng(0).standard_normal((num_rows, 50))
    rows = rows.astype(np.float32)
    # Op by op: a program of two thousand takes seconds to compile.
    ordered = _sorting.sort_rows([jnp.asarray(row) for row in rows])
    np.testing.assert_array_equal(np.stack(ordered), np.sort(rows, axis=0))


@pytest.mark.parametrize("num_rows", [65, 100, 512])
def test_one_stage_sorts_any_number_of_rows(num_rows):
    rows = np.random.default_rng(0).standard_normal((num_rows, 50)).astype(np.float32)
    rows[::7] = rows[3]  # equal values
    rows[::9] = np.inf
    ordered = jax.jit(_sorting.sort_many)(rows)
    np.testing.assert_array_equal(ordered, np.sort(rows, axis=0))


def test_is_as_small_as_batchers():
    sizes = {8: 19, 16: 63, 32: 191, 64: 543}
    for num_rows, comparators in sizes.items():
        assert len(_sorting.network_comparators(num_rows)) == comparators


def test_what_is_not_finite_goes_to_the_end_and_is_counted():
    rows = jnp.array([[jnp.nan, 1.0], [2.0, -jnp.inf], [1.0, jnp.inf]])
    for most, counted in ((2, [1, 2]), (1, [1, 2]), (0, [1, 1])):
        ordered, num_bad = jax.jit(_sorting.sort_finite, static_argnums=1)(rows, most)
        np.testing.assert_array_equal(
            np.stack(ordered), [[1, 1], [2, np.inf], [np.inf, np.inf]]
        )
        np.testing.assert_array_equal(num_bad, counted)


@pytest.mark.parametrize("num_rows", [*range(1, 10), 16, 33, 64])
def test_the_middles_are_those_of_what_is_finite(num_rows):
    rng = np.random.default_rng(num_rows)
    rows = rng.standard_normal((num_rows, 300)).astype(np.float32)
    bad = rng.random(rows.shape) < rng.random(300)
    rows[bad] = rng.choice(np.float32([np.nan, np.inf, -np.inf]), bad.sum())
    found = jax.jit(_sorting.middles_of_finite)(rows)
    lower, upper, num_bad = map(np.asarray, found)
    np.testing.assert_array_equal(num_bad, bad.sum(axis=0))
    some = ~bad.all(axis=0)
    ordered = np.sort(np.where(bad, np.inf, rows), axis=0)[:, some]
    number = num_rows - bad.sum(axis=0)[some]
    for found, place in ((lower, (number - 1) // 2), (upper, number // 2)):
        expected = np.take_along_axis(ordered, place[None], axis=0)[0]
        np.testing.assert_array_equal(found[some], expected)


@pytest.mark.parametrize("num_cut", range(6))
@pytest.mark.parametrize("num_rows", [11, 12, 16, 20, 23, 24])
def test_a_cut_takes_both_ends(num_rows, num_cut):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((num_rows, 200)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    num_bad = np.isnan(rows).sum(axis=0)
    ordered = np.sort(np.where(np.isnan(rows), np.inf, rows), axis=0)
    cut = jax.device_get(jax.jit(_sorting.cut_finite, static_argnums=1)(rows, num_cut))
    np.testing.assert_array_equal(
        np.array(cut.lowest).reshape(num_cut, 200), ordered[:num_cut][::-1]
    )
    kept = np.sort(np.array(cut.kept), axis=0)
    np.testing.assert_array_equal(kept, ordered[num_cut : num_rows - num_cut])
    few = num_bad <= num_cut
    np.testing.assert_array_equal(cut.num_bad[few], num_bad[few])
    assert (cut.num_bad[~few] > num_cut).all()


@pytest.mark.parametrize("num_rows", range(1, 20))
def test_what_rises_and_falls_is_merged(num_rows):
    """By the 0-1 principle, all of it."""
    for start, stop in itertools.combinations_with_replacement(range(num_rows + 1), 2):
        rows = [jnp.float32(start <= i < stop) for i in range(num_rows)]
        ordered = [float(row) for row in _sorting._fall_of_bad(rows)]
        assert ordered == sorted(map(float, rows), reverse=True)


@pytest.mark.parametrize("number", range(5, 10))
def test_the_nearest_are_averaged(number):
    rng = np.random.default_rng(0)
    rows = np.sort(rng.standard_normal((9, 50)), axis=0).astype(np.float32)
    centre = (rows[0] + 2 * rows[7]) / 3
    order = np.argsort(np.abs(rows - centre), axis=0)[:number]
    expected = np.take_along_axis(rows, order, axis=0).mean(axis=0)
    got = jax.jit(
        lambda rows: _sorting.mean_of_nearest(
            rows, lambda moved: (moved[0] + 2 * moved[7]) / 3, number
        )
    )(list(rows))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def _sort_as_a_list(rows):
    return jnp.stack(_sorting.sort_rows(list(rows)))


@pytest.mark.parametrize("sort", [_sort_as_a_list, _sorting.sort_many])
def test_derivatives_follow_the_values(sort):
    rng = np.random.default_rng(0)
    rows, pulled = rng.standard_normal((2, 11, 6)).astype(np.float32)

    @jax.jit
    def sort_and_pull(rows, pulled):
        ordered, pull = jax.vjp(sort, rows)
        return ordered, *pull(pulled)

    ordered, back = map(np.asarray, sort_and_pull(rows, pulled))
    np.testing.assert_array_equal(ordered, np.sort(rows, axis=0))
    for column in range(6):
        order = np.argsort(rows[:, column])
        np.testing.assert_array_equal(back[order, column], pulled[:, column])
