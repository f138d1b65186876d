"""Nearest-neighbour mixing beside the mixtures made in full."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.rules import golden


def mixtures(rows, num_byzantine):
    """Return the mixtures in float64."""
    rows = np.asarray(rows, np.float64)
    distances = ((rows[:, None] - rows) ** 2).sum(axis=-1)
    nearest = np.argsort(distances, axis=1, kind="stable")
    return rows[nearest[:, : len(rows) - num_byzantine]].mean(axis=1)


@pytest.mark.parametrize(
    "then",
    [
        jd.rules.mean(),
        jd.rules.median(),
        jd.rules.trimmed_mean(3),
        jd.rules.krum(3),
        jd.rules.monna(3, trusted=4),
    ],
    ids=repr,
)
def test_the_next_rule_sees_the_mixtures(then):
    mixed = mixtures(golden.ROWS, 3).astype(np.float32)
    got = jax.jit(jd.rules.nnm(3, then=then))(golden.ROWS)
    np.testing.assert_allclose(got, jax.jit(then)(mixed), rtol=1e-5, atol=1e-6)


def test_twice_is_mixing_the_mixtures():
    mixed = mixtures(mixtures(golden.ROWS, 3), 3).mean(axis=0)
    got = jax.jit(jd.rules.nnm(3, then=jd.rules.nnm(3, then=jd.rules.mean())))(
        golden.ROWS
    )
    np.testing.assert_allclose(got, mixed, rtol=1e-5)


def test_a_worker_that_is_not_finite_is_in_no_mixture():
    rows = jnp.asarray(golden.ROWS).at[2].set(jnp.nan)
    without = np.delete(np.asarray(golden.ROWS), 2, axis=0)
    # Ten are left, of which each takes the eight nearest, as before.
    got = jax.jit(jd.rules.nnm(3, then=jd.rules.median()))(rows)
    np.testing.assert_allclose(got, np.median(mixtures(without, 2), axis=0), rtol=1e-5)


def test_the_next_rule_has_its_own_range():
    with pytest.raises(ValueError, match=r"`num_byzantine` must .* krum\(4\)"):
        jd.rules.nnm(3, then=jd.rules.krum(4))(golden.ROWS[:10])
    with pytest.raises(TypeError, match="`then` must be of type AggregationRule"):
        jd.rules.nnm(3, then="krum")


@pytest.mark.parametrize("then", [jd.rules.mean(), jd.rules.trimmed_mean(15)], ids=str)
def test_mixtures_of_many_workers_never_exist_at_once(then):
    """64 workers of 10M numbers take 2.6 GB; next to nothing comes on top."""
    rows = jax.ShapeDtypeStruct((64, 10**7), jnp.float32)
    program = jax.jit(jd.rules.nnm(15, then=then)).lower(rows).compile()
    assert program.memory_analysis().temp_size_in_bytes < 0.01 * 4 * 64 * 10**7
