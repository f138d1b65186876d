"""Leaves and trees for hypothesis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import find, given, settings

import jaxdist as jd
from jaxdist import testing

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
QUICK = settings(max_examples=100, derandomize=True, deadline=None, database=None)


@QUICK
@given(testing.leaves(dtypes=DTYPES, max_size=30))
def test_leaves_are_finite_normal_and_small(leaf):
    assert isinstance(leaf, jax.Array)
    assert leaf.dtype in DTYPES and 1 <= leaf.size <= 30 and leaf.ndim <= 4
    magnitudes = np.abs(np.asarray(leaf, np.float64))
    assert np.isfinite(magnitudes).all()
    nonzero = magnitudes[magnitudes > 0]
    assert (nonzero >= 0.99 * float(jnp.finfo(leaf.dtype).tiny)).all()


@QUICK
@given(testing.leaves(shapes=[(), (2, 3)]))
def test_shapes_may_be_given(leaf):
    assert leaf.shape in [(), (2, 3)]


@QUICK
@given(testing.gradient_trees())
def test_trees_are_dictionaries_with_leaves(tree):
    assert isinstance(tree, dict) and jax.tree.leaves(tree)
    tx = jd.compress(jd.compression.identity())
    seen, _ = tx.update(tree, tx.init(tree))
    jax.tree.map(np.testing.assert_array_equal, seen, tree)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda leaf: leaf.ndim == 0,
        lambda leaf: leaf.ndim == 4,
        lambda leaf: leaf.size > 2 and np.count_nonzero(leaf) == 1,
        lambda leaf: np.abs(leaf).max() > 1e20,
        lambda leaf: 0 < np.abs(leaf).max() < 1e-20,
        lambda leaf: leaf.size > 2 and not np.any(leaf),
    ],
    ids=["scalar", "four axes", "one-hot", "huge", "tiny", "zero"],
)
def test_what_breaks_compressors_occurs(wanted):
    options = settings(max_examples=2000, derandomize=True, database=None)
    assert wanted(find(testing.leaves(), wanted, settings=options))


def test_what_is_not_finite_and_what_is_empty_occurs():
    options = settings(max_examples=2000, derandomize=True, database=None)
    find(
        testing.leaves(finite=False),
        lambda x: np.isnan(x).any(),
        settings=options,
    )
    find(
        testing.gradient_trees(),
        lambda tree: any(leaf.size == 0 for leaf in jax.tree.leaves(tree)),
        settings=options,
    )


def test_sizes_have_a_range():
    with pytest.raises(ValueError, match="`max_size` must be an integer >= 1"):
        testing.leaves(max_size=0)
    with pytest.raises(ValueError, match="`max_leaves` must be an integer >= 1"):
        testing.gradient_trees(max_leaves=0)
