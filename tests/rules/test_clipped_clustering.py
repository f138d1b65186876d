"""Clipped clustering: clusters, ties, and the norms it remembers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rules import _clipped_clustering


def at(degrees, lengths=1.0):
    """Return rows in the plane."""
    angles = np.deg2rad(np.asarray(degrees, float))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return jnp.asarray(rows * np.asarray(lengths).reshape(-1, 1), jnp.float32)


def chosen(rows):
    rule = jd.rules.clipped_clustering()
    weights, _ = rule.mix(jd.rules.Geometry.of(rows), None, rule.init(len(rows)))
    return list(np.flatnonzero(np.asarray(weights[0])))


def test_the_larger_group_of_directions_is_chosen():
    assert chosen(at([0, 90, 5, -5, 95, 10])) == [0, 2, 3, 5]


def test_lengths_do_not_part_workers():
    assert chosen(at([0, 180, 3, 6], [1, 1, 1000, 0.01])) == [0, 2, 3]


def test_of_equal_clusters_the_first_worker_s_is_chosen():
    assert chosen(at([180, 0, 5, 175])) == [0, 3]


def test_linkage_is_the_average():
    """Single linkage would choose all but the sixth, complete all but the ends."""
    assert chosen(at([15, 50, 60, 65, 95, 185, 295])) == [0, 1, 2, 3, 4]


def test_who_is_not_finite_or_zero():
    rows = at([0, 5, 180, -5, 3]).at[1].set(jnp.nan).at[4].set(0.0)
    assert chosen(rows) == [0, 3, 4]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_few_workers_are_clusters(num_workers):
    rows = at([0, 90][:num_workers])
    np.testing.assert_allclose(
        jax.jit(jd.rules.clipped_clustering())(rows), [1.0, 0.0], rtol=1e-6, atol=1e-6
    )


def test_norms_are_clipped_to_the_median_of_the_last_steps():
    rule = jd.rules.clipped_clustering(history=3)
    memory, seen = rule.init(4), []
    for length in (1.0, 2.0, 6.0, 3.0, np.nan, 4.0):
        rows = at([0, 0, 0, 180], [length, length, 100, length])
        weights, memory = rule.mix(jd.rules.Geometry.of(rows), None, memory)
        seen.append(float(weights[0, 2] * 300))
    # Medians of 1; 1, 2; 1, 2, 6; 2, 6, 3; with 100 alone; and of the last three.
    np.testing.assert_allclose(seen[:4], [1, 1.5, 2, 3], rtol=1e-5)
    assert int(memory.count) == 6
    np.testing.assert_allclose(np.sort(memory.norms), [3, 4, 100], rtol=1e-6)


def test_a_step_without_anybody_is_not_remembered():
    rule = jd.rules.clipped_clustering(history=3)
    rows = jnp.full((3, 2), jnp.nan)
    weights, memory = rule.mix(jd.rules.Geometry.of(rows), None, rule.init(3))
    np.testing.assert_array_equal(weights, 0)
    assert int(memory.count) == 0 and np.isfinite(memory.norms).all()


def test_angles_of_almost_equal_gradients_are_not_rounded_away():
    rng = np.random.default_rng(0)
    rows = (100 + 0.01 * rng.standard_normal((6, 500))).astype(np.float32)
    unit = rows / np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    expected = ((unit[:, None] - unit[None]) ** 2).sum(axis=-1) / 2
    geometry = jd.rules.Geometry.of(jnp.asarray(rows))
    got = _clipped_clustering._angles_apart(geometry, jnp.sqrt(geometry.squared_norms))
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-12)


def test_history_is_positive():
    with pytest.raises(ValueError, match="`history` must be .* got 0"):
        jd.rules.clipped_clustering(0)
