"""Every rule against NumPy in float64, and what every rule must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from tests import harness
from tests.contract import table

RULES = pytest.mark.parametrize(
    "rule", [row.rule for row in table.RULES], ids=table.names(table.RULES)
)
ROWS = pytest.mark.parametrize("row", table.RULES, ids=table.names(table.RULES))


def rows_of(num_workers, size=23, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_workers, size)).astype(np.float32)


def assert_equals_the_oracle(row, rows, rtol=1e-5):
    """Compare with what the rule should return, from the papers, in float64."""
    merged = jax.jit(lambda rows: table.apply(row.rule, rows))(rows)
    expected = row.oracle(np.asarray(rows, np.float64))
    np.testing.assert_allclose(merged, expected, rtol=rtol, atol=row.atol)


@ROWS
@pytest.mark.parametrize("num_workers", [7, 8, 33])
def test_equals_the_oracle(row, num_workers):
    assert_equals_the_oracle(row, rows_of(num_workers))


@ROWS
def test_large_inputs_equal_the_oracle(row):
    """More columns than are compared at once."""
    assert_equals_the_oracle(row, rows_of(9, size=10_001))


@ROWS
def test_a_large_common_mean_does_not_hide_the_differences(row):
    rows = 100 + 0.01 * rows_of(16, size=2000)
    assert_equals_the_oracle(row, rows, rtol=1e-6)


SCALED = [row for row in table.RULES if row.rule.contract.scale_equivariant]


@pytest.mark.parametrize("row", SCALED, ids=table.names(SCALED))
def test_the_ends_of_the_range_equal_the_middle(row):
    """A power of two changes no digit: elements of 1e-17, and rows 1e18 long."""
    rows = rows_of(9)
    rows[7:] *= -30
    longest = np.linalg.norm(rows, axis=1).max()
    ends = np.float32(2) ** np.floor(np.log2([1e-17, 1e18 / longest]))
    apply = jax.jit(lambda rows: jax.lax.map(row.rule, rows))
    found = apply(np.stack([rows, *(rows * end for end in ends.astype(np.float32))]))
    scale = np.abs(found[0]).max()
    for there, end in zip(found[1:], ends, strict=True):
        np.testing.assert_allclose(there / end, found[0], rtol=1e-4, atol=1e-5 * scale)


# The oracles are tried above, with more numbers of workers.
TRIED = [name for name in testing.RULE_PROPERTIES if name != "float64"]


@ROWS
def test_keeps_its_contract(row):
    testing.check_rule(row.rule, properties=TRIED, more_workers=row.more_workers)


@RULES
def test_a_tree_is_one_long_gradient(rule):
    tree = jax.tree.map(lambda x: x[0], harness.gradients())
    merged = jax.jit(lambda tree: table.apply(rule, tree))(tree)
    names = sorted(tree)
    flat = jnp.concatenate(
        [tree[name].reshape(8, -1).astype(jnp.float32) for name in names], axis=1
    )
    expected = jax.jit(lambda rows: table.apply(rule, rows))(flat)
    parts = [merged[name].reshape(-1).astype(jnp.float32) for name in names]
    np.testing.assert_allclose(jnp.concatenate(parts), expected, rtol=1e-2, atol=1e-2)


@RULES
def test_halves_are_added_up_as_floats(rule):
    """Rounded once, at the end; few are so near the middle that they may go astray."""
    rows = jnp.asarray(rows_of(9, size=200) + 3, jnp.bfloat16)
    apply = jax.jit(lambda rows: table.apply(rule, rows))
    found, expected = apply(rows), apply(rows.astype(jnp.float32))
    expected = expected.astype(found.dtype)
    np.testing.assert_allclose(found, expected, rtol=2**-7)
    assert (found != expected).mean() < 0.05


@pytest.mark.parametrize(
    "factory",
    [
        *(
            jd.rules.trimmed_mean,
            jd.rules.meamed,
            jd.rules.phocas,
            jd.rules.multi_krum,
            jd.rules.bulyan,
        ),
        *(
            jd.rules.minimum_diameter,
            jd.rules.minimum_variance,
            jd.rules.smea,
            jd.rules.cge,
            jd.rules.monna,
        ),
        *(jd.rules.caf, jd.rules.dnc),
        lambda f: jd.rules.spectral_filter(f, 10.0),
        lambda f: jd.rules.nnm(f, then=jd.rules.trimmed_mean(f)),
        lambda f: jd.rules.arc(f, then=jd.rules.trimmed_mean(f)),
        lambda f: jd.rules.bucketing(2, f, then=jd.rules.trimmed_mean),
    ],
)
def test_without_attackers_all_are_averaged(factory):
    rows = rows_of(9)
    found = jax.jit(factory(0))(rows)
    np.testing.assert_allclose(found, rows.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factory", [jd.rules.krum, jd.rules.aksel])
def test_without_attackers_those_that_choose_still_do(factory):
    rows = rows_of(9)
    found = jax.jit(factory(0))(rows)
    assert (np.linalg.norm(found - rows.mean(axis=0))) > 0.1
    assert np.isfinite(found).all()


@RULES
def test_loops_keep_the_types_of_what_varies_in_a_mesh(rule):
    rows = jnp.zeros((harness.NUM_WORKERS, 9, 23))
    apply = harness.mapped(lambda rows: table.apply(rule, rows), "shard_map")
    assert jax.eval_shape(apply, rows).shape == (harness.NUM_WORKERS, 23)


@pytest.mark.parametrize(
    ("factory", "num_workers", "largest"),
    [
        (jd.rules.trimmed_mean, 8, 3),
        (jd.rules.trimmed_mean, 9, 4),
        (jd.rules.meamed, 9, 4),
        (jd.rules.phocas, 8, 3),
        (jd.rules.krum, 8, 2),
        (jd.rules.krum, 9, 3),
        (jd.rules.multi_krum, 9, 3),
        (jd.rules.bulyan, 10, 1),
        (jd.rules.bulyan, 11, 2),
        (jd.rules.minimum_diameter, 9, 4),
        (jd.rules.minimum_variance, 9, 4),
        (jd.rules.smea, 9, 4),
        (jd.rules.cge, 9, 4),
        (jd.rules.monna, 9, 4),
        (jd.rules.aksel, 9, 4),
        (jd.rules.caf, 9, 4),
    ],
)
def test_num_byzantine_has_a_range(factory, num_workers, largest):
    factory(largest).check(num_workers)
    with pytest.raises(ValueError, match=rf"`num_byzantine`.*\[0, {largest}\].*got"):
        factory(largest + 1)(rows_of(num_workers))
    with pytest.raises(ValueError, match="`num_byzantine` must be .* got -1"):
        factory(-1)
    with pytest.raises(ValueError, match="`num_byzantine` must be .* got 1.5"):
        factory(1.5)


@RULES
def test_leaves_must_agree_on_the_number_of_workers(rule):
    with pytest.raises(ValueError, match=r"`stacked`.*\[3, 4\]"):
        table.apply(rule, [jnp.zeros((3, 2)), jnp.zeros((4, 2))])
