"""Every promise of every compressor's contract: the kit, and what it leaves open."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import jaxdist as jd
from jaxdist import testing
from tests.contract import table

EACH = table.each(table.COMPRESSORS)
# The properties of a compressor share compiled programs: one process runs them.
CASES = [
    pytest.param(
        case, id=str(case), marks=pytest.mark.xdist_group(case.compressor.name)
    )
    for row in table.COMPRESSORS
    for case in testing.compressor_cases(
        [row.compressor],
        nbytes={100: row.nbytes},
        shared_randomness=row.shared_randomness,
        shape=row.shape,
    )
]
KEY = jax.random.key(7)


@pytest.mark.parametrize("case", CASES)
def test_promise(case):
    case.check()


@functools.cache
def seen_by_others(compressor):
    """Return what arrives of ``(leaf, key)``; compiled, since op by op takes longer."""
    return jax.jit(lambda leaf, key: jd.roundtrip(compressor, leaf, key)[0])


def squared(x):
    return float(np.sum(np.asarray(x, np.float64) ** 2))


def promising(condition):
    """Return the decorator for the rows whose contract meets a condition."""
    rows = [row for row in table.COMPRESSORS if condition(row.compressor.contract)]
    return table.each(rows)


@promising(lambda contract: not contract.stochastic)
@settings(max_examples=20, derandomize=True, deadline=None)
@given(leaf=testing.leaves(shapes=[(8,)]))
def test_deterministic_compressors_contract_any_leaf(row, leaf):
    contract = row.compressor.contract
    unit = float(jnp.max(jnp.abs(leaf))) or 1.0
    error = seen_by_others(row.compressor)(leaf, KEY) / unit - leaf / unit
    assert squared(error) <= (contract.variance(8) + 1e-5) * squared(leaf / unit)


@EACH
def test_bounds_are_one_bound(row):
    contract = row.compressor.contract
    for size in (1, 16, 1000):
        assert contract.contraction(size) == pytest.approx(1 - contract.variance(size))


@EACH
def test_leaves_without_elements_travel_as_they_are(row):
    seen, _ = jd.roundtrip(row.compressor, jnp.ones((0, 3)), 0)
    assert seen.shape == (0, 3)


def leaves_at_the_ends(shape):
    """Return what is dense, and one element alone, in powers of two of the middle."""
    rng = np.random.default_rng(0)
    dense = rng.uniform(0.3, 1, shape) * rng.choice([-1, 1], shape)
    alone = np.zeros(shape)
    alone.flat[5] = -1
    powers = [0, 125, -116, 128]
    leaves = np.stack([leaf * 2.0**k for k in powers for leaf in (dense, alone)])
    largest = float(np.finfo(np.float32).max)
    return powers, np.clip(leaves, -largest, largest).astype(np.float32)


@EACH
def test_the_ends_of_float32_are_as_the_middle(row):
    """Up to 3.4e38 nothing overflows, and far from 1 nothing vanishes."""
    compressor = row.compressor
    powers, leaves = leaves_at_the_ends(row.shape)
    seen = jax.jit(
        lambda leaves: jax.lax.map(
            lambda leaf: jd.roundtrip(compressor, leaf, KEY)[0], leaves
        )
    )(leaves)
    seen = np.asarray(seen, np.float64).reshape(len(powers), 2, -1)
    assert np.isfinite(seen).all()
    if compressor.name.startswith("threshold(1.0"):
        return  # which compares with a number that is not scaled
    largest = float(np.finfo(np.float32).max)
    # What overflowed inside stays the largest number, and may be made smaller later.
    clipped = compressor.name.startswith(("contractive", "ef21(contractive", "quant"))
    for power, found in zip(powers[1:3], seen[1:3], strict=True):
        expected = np.clip(seen[0] * 2.0**power, -largest, largest)
        if clipped and power > 0:
            continue
        scale = np.abs(expected).max(axis=1, keepdims=True)
        assert (np.abs(found - expected) <= 2e-2 * scale).all()


@promising(lambda contract: not contract.aligned)
def test_who_is_not_aligned_says_so_for_a_reason(row):
    """Two workers with other values keep other elements."""
    workers = jax.random.normal(KEY, (2, 100))

    @jax.jit
    def seen(leaf, index):
        keys = jd.Keys(KEY, jax.random.fold_in(KEY, index))
        payload, _ = row.compressor.encode(leaf, row.compressor.init(leaf), keys, 1)
        return row.compressor.decode(payload, leaf, keys)

    kept = [np.asarray(seen(leaf, i)) != 0 for i, leaf in enumerate(workers)]
    # What is sparse after a transform is dense when it arrives.
    assert (kept[0] != kept[1]).any() or np.mean(kept[0]) > 0.5


@promising(lambda contract: contract.projection)
def test_projections_are_orthogonal_to_what_they_drop(row):
    leaf = jax.random.normal(KEY, (64,))  # nothing is padded
    seen = np.asarray(seen_by_others(row.compressor)(leaf, KEY), np.float64)
    dropped = np.asarray(leaf, np.float64) - seen
    assert 0 < squared(dropped) < squared(leaf)
    assert seen @ dropped == pytest.approx(0, abs=1e-5 * squared(leaf))
