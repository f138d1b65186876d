"""Krum: the published example, what it resists, and what it does not."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.rule import _krum
from tests.rule import golden

POINTS = jnp.array(
    [[1, 2], [2, 2], [1, 1], [2, 1], [1.5, 1.5], [10, 10], [-8, 9]], jnp.float32
)


def test_published_example():
    scores = _krum.scores(2)(jd.Geometry.of(POINTS), jnp.zeros(7, bool))
    np.testing.assert_allclose(
        scores, [2.5, 2.5, 2.5, 2.5, 1.5, 417.5, 421.5], rtol=1e-6
    )
    np.testing.assert_array_equal(jd.krum(2)(POINTS), [1.5, 1.5])


def test_golden_values():
    np.testing.assert_allclose(
        jd.krum(3)(golden.ROWS), golden.KRUM, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("neighbours", "largest"), [("paper", 2), ("byzfl", 3)])
def test_conventions_of_others(neighbours, largest):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((8, 3)).astype(np.float32)
    num_near = 8 - largest - (2 if neighbours == "paper" else 1)
    distances = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=-1)
    for power in (1, 2):
        scores = np.sort(distances**power, axis=1)[:, 1 : 1 + num_near].sum(axis=1)
        rule = jd.krum(largest, neighbours=neighbours, squared=power == 2)
        np.testing.assert_array_equal(rule(rows), rows[np.argmin(scores)])
        assert np.isfinite(rule.contract.kappa(8, largest)) == (power == 2)
    with pytest.raises(ValueError, match=rf"`num_byzantine`.*\[0, {largest}\]"):
        jd.krum(largest + 1, neighbours=neighbours)(rows)


def test_neighbours_have_a_name():
    with pytest.raises(ValueError, match="`neighbours` must be one of 'paper', 'byzf"):
        jd.krum(1, neighbours="flower")


def test_one_worker_has_no_neighbours():
    np.testing.assert_array_equal(jd.krum(0, neighbours="byzfl")(POINTS[:1]), [1, 2])


def test_ties_go_to_the_lowest_index():
    rows = jnp.array([[0.0], [1.0], [2.0], [3.0], [4.0]]).at[4].set(0.0)
    # Workers 0 and 4 are the same point, and have the same score.
    weights, _ = jd.krum(1).mix(jd.Geometry.of(rows), None, ())
    assert int(jnp.argmax(weights)) in (0, 1)
    np.testing.assert_array_equal(jnp.sort(weights[0])[-2:], [0, 1])


def test_resists_collusion_that_defeats_the_smallest_sum_of_all_distances():
    """One far away moves the barycentre, where its accomplice waits."""
    rng = np.random.default_rng(0)
    honest = 0.1 * rng.standard_normal((8, 2))
    far = np.array([[100.0, 0.0]])
    accomplice = np.concatenate([honest, far]).mean(axis=0, keepdims=True)
    rows = np.concatenate([honest, far, accomplice]).astype(np.float32)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=(1, 2))
    assert np.argmin(distances) == 9
    chosen = np.asarray(jd.krum(2)(rows))
    assert (chosen == rows[:8]).all(axis=1).any()


def test_error_bound_under_a_gaussian_attack():
    """With n = 9, f = 2, d = 10 the squared error stays far below 366.7."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(50):
        rows = 5 + rng.standard_normal((9, 10))
        rows[7:] = 200 * rng.standard_normal((2, 10))
        errors.append(np.asarray(jd.krum(2)(rows.astype(np.float32))) - 5)
    assert (np.mean(errors, axis=0) ** 2).sum() < 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_needs_three_workers(num_workers):
    with pytest.raises(ValueError, match=f"more workers than the {num_workers}"):
        jd.krum(0)(POINTS[:num_workers])


def test_the_zero_of_nobody_trusted_does_not_look_chosen():
    rows = jnp.full((5, 2), jnp.nan)
    np.testing.assert_array_equal(jd.krum(1)(rows), [0, 0])
