"""Every rule against NumPy in float64, and what every rule must do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.contract import table

RULES = pytest.mark.parametrize(
    "rule", [row.rule for row in table.RULES], ids=table.names(table.RULES)
)
ROBUST = [row.rule for row in table.RULES if row.rule.contract.num_byzantine]
ROBUST_RULES = pytest.mark.parametrize("rule", ROBUST, ids=repr)
INVARIANT = pytest.mark.parametrize(
    "rule", [row.rule for row in table.RULES if row.invariant], ids=repr
)
ROWS = pytest.mark.parametrize("row", table.RULES, ids=table.names(table.RULES))

apply = table.apply


def rows_of(num_workers, size=23, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_workers, size)).astype(np.float32)


def oracle(row, rows):
    """Return what the rule should, from the papers, in float64."""
    return row.oracle(np.asarray(rows, np.float64))


def assert_equals_the_oracle(row, rows, rtol=1e-5):
    # Of a gradient almost orthogonal to an anchor, few digits of the angle are left.
    atol = 3e-5 if row.rule.anchor else 1e-6
    merged = apply(row.rule, rows)
    np.testing.assert_allclose(merged, oracle(row, rows), rtol=rtol, atol=atol)


@ROWS
@pytest.mark.parametrize("num_workers", [7, 8, 16, 33])
def test_equals_the_oracle(row, num_workers):
    assert_equals_the_oracle(row, rows_of(num_workers))


@ROWS
def test_large_inputs_equal_the_oracle(row):
    """More columns than are compared at once."""
    assert_equals_the_oracle(row, rows_of(9, size=10_001))


@RULES
def test_a_tree_is_one_long_gradient(rule):
    tree = jax.tree.map(lambda x: x[0], harness.gradients())
    merged = apply(rule, tree)
    names = sorted(tree)
    flat = jnp.concatenate(
        [tree[name].reshape(8, -1).astype(jnp.float32) for name in names], axis=1
    )
    expected = apply(rule, flat)
    parts = [merged[name].reshape(-1).astype(jnp.float32) for name in names]
    np.testing.assert_allclose(jnp.concatenate(parts), expected, rtol=1e-2, atol=1e-2)
    for name in names:
        assert merged[name].dtype == tree[name].dtype
        assert merged[name].shape == tree[name].shape[1:]


@RULES
def test_equivariant_as_its_contract_says(rule):
    rows = rows_of(9)
    scale = 3 if rule.contract.scale_equivariant else 1
    shift = rows_of(1, seed=1) * float(rule.contract.translation_equivariant)
    expected = scale * apply(rule, rows) + shift[0]
    moved = apply(rule, scale * rows + shift)
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


@INVARIANT
def test_invariant_to_the_order_of_workers(rule):
    rows = rows_of(9)
    order = np.random.default_rng(1).permutation(9)
    merged, permuted = apply(rule, rows), apply(rule, rows[order])
    np.testing.assert_allclose(permuted, merged, rtol=1e-5, atol=1e-6)


@ROWS
def test_equal_workers_give_what_they_all_send(row):
    rows = np.repeat(rows_of(1), 8, axis=0)
    same = row.rule.contract.scale_equivariant
    expected = rows[0] if same else oracle(row, rows)
    np.testing.assert_allclose(apply(row.rule, rows), expected, rtol=1e-6)


@ROWS
def test_a_large_common_mean_does_not_hide_the_differences(row):
    rows = 100 + 0.01 * rows_of(16, size=2000)
    assert_equals_the_oracle(row, rows, rtol=1e-6)


@ROBUST_RULES
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, "mixed"])
@pytest.mark.parametrize("where", ["everywhere", "one coordinate"])
def test_two_bad_workers_change_little(rule, bad, where):
    rows = rows_of(9)
    liars = [3, 7][: rule.contract.tolerated(9)]
    values = [np.nan, -np.inf] if bad == "mixed" else [bad, bad]
    columns = slice(None) if where == "everywhere" else 4
    for liar, value in zip(liars, values, strict=False):
        rows[liar, columns] = value
    honest = np.delete(rows, liars, axis=0)
    # What has a scale of its own only stays small.
    axis = 0 if rule.contract.scale_equivariant else None
    merged = np.asarray(apply(rule, rows))
    assert (merged >= honest.min(axis=axis)).all()
    assert (merged <= honest.max(axis=axis)).all()


@ROBUST_RULES
def test_one_too_many_that_is_not_finite_gives_zero(rule):
    rows = rows_of(8)
    rows[: rule.contract.tolerated(8) + 1] = np.nan
    np.testing.assert_array_equal(apply(rule, rows), 0)


@pytest.mark.parametrize(
    ("factory", "num_workers", "largest"),
    [
        (jd.trimmed_mean, 8, 3),
        (jd.trimmed_mean, 9, 4),
        (jd.meamed, 9, 4),
        (jd.phocas, 8, 3),
        (jd.krum, 8, 2),
        (jd.krum, 9, 3),
    ],
)
def test_num_byzantine_has_a_range(factory, num_workers, largest):
    rows = rows_of(num_workers)
    factory(largest)(rows)
    with pytest.raises(ValueError, match=rf"`num_byzantine`.*\[0, {largest}\].*got"):
        factory(largest + 1)(rows)
    with pytest.raises(ValueError, match="`num_byzantine` must be .* got -1"):
        factory(-1)
    with pytest.raises(ValueError, match="`num_byzantine` must be .* got 1.5"):
        factory(1.5)


@RULES
def test_leaves_must_agree_on_the_number_of_workers(rule):
    with pytest.raises(ValueError, match=r"`stacked`.*\[3, 4\]"):
        rule([jnp.zeros((3, 2)), jnp.zeros((4, 2))])
