"""Fang's attack on Krum."""

import jax
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases

ROWS = np.random.default_rng(0).standard_normal((11, 60)).astype(np.float32)


def krum_index(rows, num_byzantine):
    """Return whom Krum selects."""
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1) ** 2
    nearest = np.sort(distances, axis=1)[:, 1 : len(rows) - num_byzantine - 1]
    return np.argmin(nearest.sum(axis=1))


def by_halving(rows, copies):
    """Return the scale, written as the paper's loop."""
    num_rows, size = rows.shape
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    nearest = np.sort(distances, axis=1)[:, 1 : num_rows - 1].sum(axis=1).min()
    longest = np.linalg.norm(rows, axis=1).max()
    for count in copies:
        scale = nearest / max(num_rows - count - 1, 1) / size**0.5
        scale += longest / size**0.5
        for _ in range(25):
            bad = np.repeat([-scale * np.sign(rows.mean(axis=0))], count, axis=0)
            if krum_index(np.concatenate([rows, bad]), count) >= num_rows:
                return scale
            scale /= 2
    return scale


@pytest.mark.parametrize("num_byzantine", [2, 4])
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_the_largest_halved_scale_that_krum_selects(num_byzantine, scale):
    honest, bad = cases.attacked(jd.attacks.fang_krum(), scale * ROWS, num_byzantine)
    expected = by_halving(honest, [num_byzantine])
    assert expected > 1e-3 * scale
    cases.assert_all_send(bad, -expected * np.sign(honest.mean(axis=0)))
    sent = np.concatenate([honest, bad])
    chosen = jax.jit(jd.rules.krum(num_byzantine))(sent.astype(np.float32))
    np.testing.assert_allclose(chosen, bad[0], rtol=1e-6)


@pytest.mark.parametrize("num_byzantine", [3, 4, 5])
def test_partial_knowledge_takes_the_attackers_for_the_honest(num_byzantine):
    _, bad = cases.attacked(jd.attacks.fang_krum("partial"), ROWS, num_byzantine)
    own = ROWS[-num_byzantine:].astype(np.float64)
    expected = by_halving(own, range(1, num_byzantine + 1))
    cases.assert_all_send(bad, -expected * np.sign(own.mean(axis=0)))


def test_without_success_it_sends_the_smallest_scale():
    """Honest workers that agree far from zero: Krum never selects zero."""
    rows = 100 + ROWS
    _, bad = cases.attacked(jd.attacks.fang_krum(num_halvings=3), rows, 2)
    _, first = cases.attacked(jd.attacks.fang_krum(num_halvings=0), rows, 2)
    np.testing.assert_allclose(bad, first / 8, rtol=1e-6)


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match="`knowledge` must be one of 'full', 'partial'"
    ):
        jd.attacks.fang_krum("none")
    with pytest.raises(ValueError, match="`num_halvings` must be an integer >= 0"):
        jd.attacks.fang_krum(num_halvings=-1)
    with pytest.raises(ValueError, match=r"`num_byzantine` must lie in \[0, 4\]"):
        jd.attacks.fang_krum()(ROWS, 5)
    with pytest.raises(ValueError, match="`num_byzantine` must be at least 2.*got 1"):
        jd.attacks.fang_krum("partial")(ROWS, 1)
