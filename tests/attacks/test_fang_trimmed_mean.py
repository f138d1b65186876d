"""Fang's attack on coordinate-wise rules."""

import jax
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases

MANY = np.random.default_rng(0).standard_normal((9, 400)).astype(np.float32)


@pytest.mark.parametrize("mean", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize("factor", [1.0, 2.0, 5.0])
def test_full_knowledge_draws_beyond_all_honest_values(mean, factor):
    honest, bad = cases.attacked(
        jd.attacks.fang_trimmed_mean(reach=factor), np.float32(mean) + MANY
    )
    grows = honest.mean(axis=0) > 0
    near = np.where(grows, honest.min(axis=0), honest.max(axis=0))
    outwards = np.where(grows, -1, 1)
    # The farther end has the other magnitude, the one that lies outwards.
    far = np.where(near * outwards > 0, near * factor, near / factor)
    share = outwards * (bad - near) / np.maximum(outwards * (far - near), 1e-9)
    assert share.min() >= -1e-3
    if factor > 1:
        assert share.max() <= 1.001
        assert np.mean(share) == pytest.approx(0.5, abs=0.05)
        assert abs(np.corrcoef(share)[0, 1]) < 0.2


def test_partial_knowledge_estimates_from_the_attackers_alone():
    rows = 0.5 + MANY
    honest, bad = cases.attacked(
        jd.attacks.fang_trimmed_mean("partial", 6.0), rows, num_byzantine=4
    )
    own = rows[5:].astype(np.float64)
    mean, deviation = own.mean(axis=0), own.std(axis=0)
    share = (bad - mean) / (-np.sign(mean) * deviation)
    assert 3 - 1e-2 <= share.min() and share.max() <= 6 + 1e-2
    assert np.mean(share) == pytest.approx(4.5, abs=0.1)


def test_with_partial_knowledge_all_workers_may_attack():
    jax.jit(jd.attacks.fang_trimmed_mean("partial"), static_argnums=1)(MANY, 9)
    with pytest.raises(ValueError, match=r"`num_byzantine` must lie in \[0, 8\]"):
        jd.attacks.fang_trimmed_mean()(MANY, 9)


@pytest.mark.parametrize("rule", [jd.rules.median(), jd.rules.trimmed_mean(2)], ids=str)
def test_moves_coordinate_wise_rules_against_the_mean(rule):
    rows = 0.3 + MANY
    honest = rows[:7].mean(axis=0)
    moved = (
        jax.jit(rule)(
            jax.jit(jd.attacks.fang_trimmed_mean(), static_argnums=1)(rows, 2)
        )
        - honest
    )
    assert np.mean(np.sign(moved) == -np.sign(honest)) > 0.9


def test_arguments_are_checked():
    with pytest.raises(
        ValueError, match="`knowledge` must be one of 'full', 'partial'"
    ):
        jd.attacks.fang_trimmed_mean("none")
    with pytest.raises(ValueError, match=r"`reach` must lie in \[1.0, inf\), got 0.5"):
        jd.attacks.fang_trimmed_mean(reach=0.5)
    with pytest.raises(ValueError, match=r"`reach` must lie in \[3.0, inf\), got 2.0"):
        jd.attacks.fang_trimmed_mean("partial", 2.0)
