"""Krum: the published example, what it resists, and what it does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.rules import golden


def test_published_example():
    np.testing.assert_array_equal(jax.jit(jd.rules.krum(2))(golden.POINTS), [1.5, 1.5])


def test_golden_values():
    np.testing.assert_allclose(
        jax.jit(jd.rules.krum(3))(golden.ROWS), golden.KRUM, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("neighbours", "largest"), [("paper", 2), ("byzfl", 3)])
def test_conventions_of_others(neighbours, largest):
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((8, 3)).astype(np.float32)
    num_near = 8 - largest - (2 if neighbours == "paper" else 1)
    distances = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=-1)
    for power in (1, 2):
        scores = np.sort(distances**power, axis=1)[:, 1 : 1 + num_near].sum(axis=1)
        rule = jd.rules.krum(largest, neighbours=neighbours, squared=power == 2)
        np.testing.assert_array_equal(jax.jit(rule)(rows), rows[np.argmin(scores)])
        assert np.isfinite(rule.contract.robustness(8, largest)) == (power == 2)
    with pytest.raises(ValueError, match=rf"`num_byzantine`.*\[0, {largest}\]"):
        jd.rules.krum(largest + 1, neighbours=neighbours)(rows)


@pytest.mark.parametrize(
    "rule", [jd.rules.krum, lambda f, **how: jd.rules.multi_krum(f, 1, **how)]
)
def test_squares_count_one_that_is_far_more_than_many_that_are_not(rule):
    rows = jnp.array([[-1.3], [-4.9], [-0.1], [0.0], [-0.7], [-6.4], [7.1]])
    np.testing.assert_array_equal(jax.jit(rule(1))(rows), rows[0])
    np.testing.assert_array_equal(jax.jit(rule(1, squared=False))(rows), rows[4])


def test_one_neighbour_more_decides_otherwise():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 16, 4)).astype(np.float32)
    ours, theirs = (
        jax.jit(jax.vmap(jd.rules.krum(3, neighbours=name)))(rows)
        for name in ("paper", "byzfl")
    )
    assert 0 < (ours != theirs).any(axis=1).sum() < 50


def test_names_say_what_is_not_as_usual():
    assert repr(jd.rules.krum(2)) == "krum(2)"
    other = jd.rules.multi_krum(2, 3, neighbours="byzfl", squared=False)
    assert repr(other) == "multi_krum(2, 3, neighbours='byzfl', squared=False)"


def test_neighbours_have_a_name():
    with pytest.raises(ValueError, match="`neighbours` must be one of 'paper', 'byzf"):
        jd.rules.krum(1, neighbours="flower")


def test_one_worker_has_no_neighbours():
    np.testing.assert_array_equal(
        jax.jit(jd.rules.krum(0, neighbours="byzfl"))(golden.POINTS[:1]), [1, 2]
    )


def test_ties_go_to_the_lowest_index():
    rows = jnp.array([[0.0], [1.0], [2.0], [3.0], [4.0]]).at[4].set(0.0)
    # Workers 0 and 4 are the same point. With 2 neighbours each, both and worker 1
    # have the score 1.
    weights, _ = jd.rules.krum(1).mix(jd.rules.Geometry.of(rows), None, ())
    np.testing.assert_array_equal(weights, [[1, 0, 0, 0, 0]])


def test_resists_collusion_that_defeats_the_smallest_sum_of_all_distances():
    """One far away moves the barycentre, where its accomplice waits."""
    rng = np.random.default_rng(0)
    honest = 0.1 * rng.standard_normal((8, 2))
    far = np.array([[100.0, 0.0]])
    accomplice = np.concatenate([honest, far]).mean(axis=0, keepdims=True)
    rows = np.concatenate([honest, far, accomplice]).astype(np.float32)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=(1, 2))
    assert np.argmin(distances) == 9
    chosen = np.asarray(jax.jit(jd.rules.krum(2))(rows))
    assert (chosen == rows[:8]).all(axis=1).any()


def test_error_bound_under_a_gaussian_attack():
    """With n = 9, f = 2, d = 10 the squared error stays far below 366.7."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(50):
        rows = 5 + rng.standard_normal((9, 10))
        rows[7:] = 200 * rng.standard_normal((2, 10))
        errors.append(
            np.asarray(jax.jit(jd.rules.krum(2))(rows.astype(np.float32))) - 5
        )
    assert (np.mean(errors, axis=0) ** 2).sum() < 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_needs_three_workers(num_workers):
    with pytest.raises(ValueError, match=f"more workers than the {num_workers}"):
        jd.rules.krum(0)(golden.POINTS[:num_workers])


def test_the_zero_of_nobody_trusted_does_not_look_chosen():
    rows = jnp.full((5, 2), jnp.nan)
    np.testing.assert_array_equal(jax.jit(jd.rules.krum(1))(rows), [0, 0])
