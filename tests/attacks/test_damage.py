"""Damage, found from a few numbers, is what the rule itself would suffer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.attacks import _damage, _moments

NUM_HONEST, NUM_BYZANTINE, SIZE = 9, 2, 10_007
SHIFTS = jnp.asarray([-8.0, -1.3, -0.02, 0.0, 0.4, 3.0])
RULES = [
    jd.rules.mean(),
    jd.rules.median(),
    jd.rules.trimmed_mean(2),
    jd.rules.krum(2),
    jd.rules.geometric_median(),
    jd.rules.caf(2),
    jd.rules.centered_clipping(1.0, 3),
    jd.rules.aksel(2),
    jd.rules.monna(2),
    jd.rules.monna(2, trusted=10),
    jd.rules.bucketing(2, 2, then=jd.rules.trimmed_mean),
    jd.rules.nnm(2, then=jd.rules.trimmed_mean(2)),
    jd.rules.nnm(2, then=jd.rules.krum(2)),
    jd.rules.arc(2, then=jd.rules.mean()),
    jd.rules.arc(2, then=jd.rules.nnm(2, then=jd.rules.median())),
]


def found_and_suffered(rule):
    """Return the program that gives both for honest rows, the same for all of them."""

    @jax.jit
    def both(honest):
        key = jax.random.key(3)
        mean, along = _moments.mean_row(honest), -_moments.deviation_row(honest)

        def suffered(shift):
            crafted = jnp.broadcast_to(mean + shift * along, (NUM_BYZANTINE, SIZE))
            merged = rule(jnp.concatenate([honest, crafted]), key)
            return jnp.linalg.norm(merged - mean)

        damage = _damage.shift_damages(rule, key, honest, along, NUM_BYZANTINE)
        found = jax.lax.map(damage, SHIFTS, batch_size=4)
        return found, jax.lax.map(suffered, SHIFTS)

    return both


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_is_what_the_rule_suffers(rule):
    """For noise, and beside a large mean."""
    both = found_and_suffered(rule)
    noise = jax.random.normal(jax.random.key(1), (NUM_HONEST, SIZE))
    for common, spread in ((0.3, 1.0), (100.0, 0.01)):
        found, expected = both(common + spread * noise)
        # A square is rounded: less than its root of a deviation's length is not seen.
        rounding = (1e-4 * spread + 2e-6 * common) * np.sqrt(SIZE)
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=rounding)


def test_takes_no_memory_beyond_the_honest():
    """Candidates live a few columns at a time: one gradient, the mean, is all."""
    honest = jax.ShapeDtypeStruct((NUM_HONEST, 1_000_003), jnp.float32)
    rule = jd.rules.nnm(2, then=jd.rules.trimmed_mean(2))

    def worst(honest):
        along = _moments.mean_row(honest)
        key = jax.random.key(0)
        damage = _damage.shift_damages(rule, key, honest, along, NUM_BYZANTINE)
        return jax.lax.map(damage, SHIFTS, batch_size=4)

    program = jax.jit(worst).lower(honest).compile()
    used = program.memory_analysis().temp_size_in_bytes
    assert used <= 2 * 4 * 1_000_003
