"""Optimal attacks are at least as harmful as every shift of a dense signed grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist.attacks import _moments
from tests.attacks import cases

NUM_WORKERS, NUM_BYZANTINE = 11, 2
LIMIT = 10.0


RULES = [
    jd.rules.mean(),
    jd.rules.median(),
    jd.rules.trimmed_mean(2),
    jd.rules.krum(2),
    jd.rules.nnm(2, then=jd.rules.trimmed_mean(2)),
]
CASES = [
    (
        jd.attacks.optimal_a_little_is_enough,
        lambda honest: -_moments.deviation_row(honest),
    ),
    (
        jd.attacks.optimal_inner_product_manipulation,
        lambda honest: -_moments.mean_row(honest),
    ),
]


def inputs():
    """Return rows with common parts of three sizes, of like and unlike workers."""
    keys = jax.random.split(jax.random.key(0), 18).reshape(6, 3)
    return jnp.stack(
        [
            common * jax.random.normal(a, (40,))[None]
            + jax.random.normal(b, (NUM_WORKERS, 40))
            * (1 + spread * jax.random.uniform(c, (NUM_WORKERS, 1)))
            for (a, b, c), common, spread in zip(
                keys, [0.1, 1, 5, 0.1, 1, 5], [0, 0, 0, 3, 3, 3], strict=True
            )
        ]
    )


@pytest.mark.parametrize("make", CASES, ids=["deviation", "mean"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_at_least_as_harmful_as_a_dense_signed_grid(make, rule):
    factory, direction_of = make
    attack = factory(rule, LIMIT)

    def compare(rows):
        honest = rows[:-NUM_BYZANTINE]
        mean, direction = _moments.mean_row(honest), direction_of(honest)

        def damage(row):
            bad = jnp.broadcast_to(row, (NUM_BYZANTINE, row.size))
            result = rule(jnp.concatenate([honest, bad]))
            return jnp.linalg.norm(result - mean)

        grid = jnp.linspace(-LIMIT, LIMIT, 1001)
        dense = jax.lax.map(lambda t: damage(mean + t * direction), grid, batch_size=50)
        return damage(attack(rows, NUM_BYZANTINE)[-1]), jnp.max(dense)

    found, dense = jax.jit(lambda stack: jax.lax.map(compare, stack))(inputs())
    np.testing.assert_array_less(dense * (1 - 1e-4), found)


def test_sends_the_shifted_mean():
    """A mean without defence moves in proportion: the limit, in the paper's sign."""
    honest, bad = cases.attacked(
        jd.attacks.optimal_a_little_is_enough(jd.rules.mean(), 3.0)
    )
    expected = honest.mean(axis=0) - 3 * honest.std(axis=0)
    cases.assert_all_send(bad, expected, rtol=1e-4)


def test_arguments_are_checked():
    attack = jd.attacks.optimal_a_little_is_enough
    with pytest.raises(TypeError, match="`rule` must be of type AggregationRule"):
        attack("median")
    with pytest.raises(ValueError, match=r"`limit` must lie in \(0.0, inf\), got 0"):
        attack(jd.rules.median(), 0)
    with pytest.raises(ValueError, match="`num_magnitudes` must be an integer >= 2"):
        attack(jd.rules.median(), num_magnitudes=1)
    with pytest.raises(ValueError, match="`num_refinements` must be an integer >= 0"):
        attack(jd.rules.median(), num_refinements=-1)
    with pytest.raises(ValueError, match="for krum.* of 4 workers"):
        attack(jd.rules.krum(1))(jnp.ones((4, 2)), 1)
