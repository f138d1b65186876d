"""Every promise of every compressor's contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxdist as jd
from tests import statistics
from tests.contract import table

ROWS = pytest.mark.parametrize(
    "row", table.COMPRESSORS, ids=table.names(table.COMPRESSORS)
)
KEY = jax.random.key(7)
KEYS = jd.Keys(KEY, jax.random.fold_in(KEY, 0))
SIZE = 61


def leaves():
    """Return leaves of 61 elements on which bounds are tight or fragile."""
    rng = np.random.default_rng(3)
    normal = rng.standard_normal(SIZE)
    return {
        "normal": normal,
        "heavy": rng.standard_t(1.5, SIZE),
        "flat": np.ones(SIZE),
        "one_hot": np.eye(1, SIZE, 17)[0],
        "sparse": normal * (rng.random(SIZE) < 0.1),
        "huge": 1e30 * normal,
        "tiny": 1e-30 * normal,
    }


def encode(compressor, leaf, blocks=1, keys=KEYS):
    return compressor.encode(leaf, compressor.init(leaf), keys, blocks)[0]


def like(leaf):
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def squared(x):
    return float(np.sum(np.asarray(x, np.float64) ** 2))


UNBIASED = [row for row in table.COMPRESSORS if row.compressor.contract.unbiased]


@pytest.mark.parametrize("row", UNBIASED, ids=table.names(UNBIASED))
@pytest.mark.parametrize("kind", ["normal", "heavy", "one_hot"])
@pytest.mark.parametrize("blocks", [1, 4])
def test_unbiased(row, kind, blocks):
    leaf = jnp.asarray(leaves()[kind], jnp.float32)
    assert statistics.bias_over_bound(row.compressor, leaf, blocks=blocks) < 1


def _defective(decode_factor=1.0, extra_up=0.0):
    """Return an 8-bit quantizer that shrinks, or rounds up too often."""
    good = jd.qsgd(bits=8)

    def encode(leaf, state, keys, blocks):
        noise = extra_up * jnp.abs(leaf).max()
        return good.encode(leaf + noise * jnp.sign(leaf), state, keys, blocks)

    def decode(payload, like, keys):
        return decode_factor * good.decode(payload, like, keys)

    return good._replace(encode=encode, decode=decode)


def _wrong_scale():
    """Return random-k with the scale d/(k+1)."""
    good = jd.random_k(0.5)
    return good._replace(decode=lambda *args: good.decode(*args) * 31 / 32)


@pytest.mark.parametrize(
    "defective",
    [_defective(decode_factor=0.99), _defective(extra_up=0.002), _wrong_scale()],
    ids=["shrinks by 1 %", "rounds up too often", "scale d/(k+1)"],
)
def test_the_test_of_unbiasedness_catches_planted_defects(defective):
    leaf = jnp.asarray(leaves()["normal"], jnp.float32)
    assert statistics.bias_over_bound(defective, leaf) > 1


@ROWS
@pytest.mark.parametrize("kind", leaves())
@pytest.mark.parametrize("blocks", [1, 4])
def test_squared_error_keeps_its_bound(row, kind, blocks):
    contract = row.compressor.contract
    if blocks > 1 and not contract.splittable:
        return
    leaf = jnp.asarray(leaves()[kind], jnp.float32)
    num_draws = 4000 if contract.stochastic else 1
    seen = statistics.draws(row.compressor, leaf, num_draws, blocks)
    scale = np.abs(np.asarray(leaf, np.float64)).max()
    errors = np.sum(((seen - np.asarray(leaf, np.float64)) / scale) ** 2, axis=1)
    size = -(-SIZE // blocks)
    bound = contract.variance(size) * squared(np.asarray(leaf) / scale)
    # Six standard deviations of the mean of the draws, and float32 rounding.
    slack = 6 * errors.std() / np.sqrt(num_draws) + 1e-6
    assert errors.mean() <= bound + slack
    assert contract.contraction(size) == pytest.approx(1 - contract.variance(size))


@ROWS
@settings(max_examples=20, derandomize=True, deadline=None)
@given(
    data=st.lists(
        st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30),
        min_size=8,
        max_size=8,
    )
)
def test_deterministic_compressors_contract_any_leaf(row, data):
    contract = row.compressor.contract
    if contract.stochastic:
        return
    leaf = jnp.asarray(data, jnp.float32)
    error = squared(jd.roundtrip(row.compressor, leaf)[0] - leaf)
    assert error <= (contract.variance(8) + 1e-5) * squared(leaf)


PROJECTIONS = [row for row in table.COMPRESSORS if row.compressor.contract.projection]


@pytest.mark.parametrize("row", PROJECTIONS, ids=table.names(PROJECTIONS))
def test_projections_are_orthogonal_to_what_they_drop(row):
    leaf = jax.random.normal(KEY, (64,))  # nothing is padded
    seen = np.asarray(jd.roundtrip(row.compressor, leaf)[0], np.float64)
    dropped = np.asarray(leaf, np.float64) - seen
    assert 0 < squared(dropped) < squared(leaf)
    assert seen @ dropped == pytest.approx(0, abs=1e-5 * squared(leaf))


@ROWS
def test_payload_is_what_is_declared_and_what_is_made(row):
    leaf = jnp.arange(100.0)
    assert jd.payload_nbytes(row.compressor, leaf) == row.nbytes
    made = jax.tree.leaves(encode(row.compressor, leaf))
    assert sum(array.nbytes for array in made) == row.nbytes


@ROWS
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("shape", [(), (1,), (13, 7), (2, 3, 2, 5), (0, 3)])
def test_shape_and_dtype_come_back(row, dtype, shape):
    leaf = jnp.ones(shape, dtype)
    seen, state = jax.jit(lambda x: jd.roundtrip(row.compressor, x, 0))(leaf)
    assert (seen.shape, seen.dtype) == (leaf.shape, leaf.dtype)
    assert np.isfinite(np.asarray(seen, np.float32)).all()
    if leaf.size:
        start = row.compressor.init(leaf)
        assert jax.tree.structure(state) == jax.tree.structure(start)


@ROWS
def test_zero_stays_zero(row):
    seen, _ = jd.roundtrip(row.compressor, jnp.zeros(37), 0)
    np.testing.assert_array_equal(seen, 0)


@ROWS
def test_each_block_decodes_alone(row):
    if not row.compressor.contract.splittable:
        return
    leaf = jax.random.normal(KEY, (5, 11))
    payload = encode(row.compressor, leaf, blocks=4)
    whole = row.compressor.decode(payload, like(leaf), KEYS)
    part = jax.ShapeDtypeStruct((14,), jnp.float32)

    def decode_block(j):
        block = jax.tree.map(lambda array: array[j : j + 1], payload)
        return row.compressor.decode(block, part, KEYS)

    parts = [decode_block(j) for j in range(4)]
    # Rotations sum in another order, and what cancels leaves a rounding error.
    np.testing.assert_allclose(
        jnp.concatenate(parts)[:55], whole.reshape(-1), rtol=1e-6, atol=1e-6
    )


@ROWS
def test_accumulate_adds_what_decode_gives(row):
    if row.compressor.accumulate is None:
        return
    leaf, total = jax.random.normal(KEY, (2, 5, 11))
    payload = encode(row.compressor, leaf)
    added = row.compressor.accumulate(total, payload, KEYS)
    expected = total + row.compressor.decode(payload, like(leaf), KEYS)
    np.testing.assert_allclose(added, expected, rtol=1e-6)


@ROWS
def test_linear_payloads_may_be_averaged(row):
    leaf, other = jax.random.normal(KEY, (2, 29))
    payloads = [encode(row.compressor, x) for x in (leaf, other)]
    decoded = [row.compressor.decode(p, like(leaf), KEYS) for p in payloads]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *payloads)
    if row.compressor.contract.linear:
        of_mean = row.compressor.decode(mean, like(leaf), KEYS)
        expected = (decoded[0] + decoded[1]) / 2
        np.testing.assert_allclose(of_mean, expected, rtol=1e-2, atol=1e-6)


@ROWS
def test_aligned_workers_keep_the_same_coordinates(row):
    workers = jax.random.normal(KEY, (2, 100))
    keys = [jd.Keys(KEY, jax.random.fold_in(KEY, i)) for i in range(2)]
    kept = [
        row.compressor.decode(encode(row.compressor, x, keys=k), like(x), k) != 0
        for x, k in zip(workers, keys, strict=True)
    ]
    # Receivers of increments compare their sums, which are dense.
    sparse = float(jnp.mean(kept[0])) < 0.5 and not row.compressor.incremental
    same = bool(jnp.all(kept[0] == kept[1]))
    if sparse:
        assert same == row.compressor.contract.aligned


@ROWS
def test_same_keys_same_result_other_keys_another(row):
    leaf = jax.random.normal(KEY, (10, 10))

    def result(seed):
        arrays = jax.tree.leaves(jd.roundtrip(row.compressor, leaf, seed))
        return np.concatenate([np.asarray(x, np.float32).ravel() for x in arrays])

    one, again, other = result(1), result(1), result(2)
    np.testing.assert_array_equal(one, again)
    assert np.any(one != other) == row.compressor.contract.stochastic


@ROWS
def test_vmap_is_a_loop(row):
    batch = jax.random.normal(KEY, (3, 41))

    def one(leaf):
        return jd.roundtrip(row.compressor, leaf, KEY)[0]

    looped = jnp.stack([one(leaf) for leaf in batch])
    np.testing.assert_allclose(jax.vmap(one)(batch), looped, rtol=1e-6)


@ROWS
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_what_is_not_finite_never_looks_finite(row, bad):
    """It arrives as it is, or not at all; and the state stays finite."""
    leaf = jnp.arange(1.0, 38.0).at[5].set(bad)
    seen, state = jd.roundtrip(row.compressor, leaf, 0)
    assert seen[5] == 0 or not np.isfinite(seen[5])
    for array in jax.tree.leaves(state):
        assert np.isfinite(array).all()
