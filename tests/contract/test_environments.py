"""The same numbers whatever keys JAX makes by default, and with 64-bit numbers on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from tests import harness
from tests.contract import table

STOCHASTIC = [row for row in table.COMPRESSORS if row.compressor.contract.stochastic]
LEAF = jnp.asarray(np.random.default_rng(0).standard_normal(96), jnp.float32)
UPDATES = jnp.asarray(np.random.default_rng(1).standard_normal((8, 96)), jnp.float32)


def mean_of(compressor, key=0):
    """Return what eight workers make of their updates on the route gather."""
    tx = jd.aggregate(harness.AXIS, compressor=compressor, route="gather", key=key)
    return harness.run(lambda g: tx.update(g, tx.init(g))[0], "shard_map", UPDATES)


@pytest.mark.parametrize(
    "compressor",
    [
        jd.compression.eden(4),
        jd.compression.drive(),
        jd.compression.random_k(0.3, shared=False),
        jd.compression.random_k(0.3),
    ],
    ids=repr,
)
def test_receivers_draw_what_senders_drew_whatever_the_keys(compressor):
    expected = mean_of(compressor)
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(mean_of(compressor), expected)
    given = mean_of(compressor, jax.random.key(3, impl="rbg"))
    seeds = range(3, 40, 9)
    seen = [mean_of(compressor, jax.random.key(seed, impl="rbg")) for seed in seeds]
    np.testing.assert_array_equal(seen[0], given)
    assert not any(np.array_equal(given, other) for other in seen[1:])
    if compressor.contract.contraction(96) > 0:  # eden and drive stay close
        exact = UPDATES.mean(axis=0)
        error = np.linalg.norm(given[0] - exact) / np.linalg.norm(exact)
        assert error**2 < compressor.contract.variance(96)


@table.each(STOCHASTIC)
def test_numbers_do_not_depend_on_64_bits(row):
    leaf = LEAF.reshape(12, 8)
    expected = np.asarray(harness.roundtrip(row.compressor, leaf, 5)[0])
    with jax.enable_x64(True):
        found = np.asarray(harness.roundtrip(row.compressor, leaf, 5)[0])
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


DTYPES = pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])


def result_dtype(function, shape, dtype):
    """Trace a function with 64-bit numbers on; return the dtype of its result."""
    return jax.eval_shape(function, jax.ShapeDtypeStruct(shape, dtype)).dtype


@DTYPES
@table.each(table.COMPRESSORS)
def test_compressors_take_strict_dtypes_with_64_bits(row, dtype):
    with jax.enable_x64(True):
        for blocks in (1, 4) if row.compressor.contract.splittable else (1,):

            def send(leaf, blocks=blocks):
                return jd.roundtrip(row.compressor, leaf, 0, blocks=blocks)[0]

            assert result_dtype(send, row.shape, dtype) == dtype


@DTYPES
@table.each(table.RULES)
def test_rules_take_strict_dtypes_with_64_bits(row, dtype):
    with jax.enable_x64(True):
        weight = jnp.ones(9, jnp.float32).at[3].set(0)
        for known in ({}, {"weight": weight}):

            def merge(rows, known=known):
                return table.apply(row.rule, rows, **known)

            assert result_dtype(merge, (9, 23), dtype) == dtype


@DTYPES
@pytest.mark.parametrize("attack", table.ATTACKS, ids=table.names(table.ATTACKS))
def test_attacks_take_strict_dtypes_with_64_bits(attack, dtype):
    with jax.enable_x64(True):
        assert result_dtype(lambda rows: attack(rows, 2), (9, 23), dtype) == dtype


@pytest.mark.parametrize(
    "row",
    [row for row in table.RULES if row.rule.name.startswith(("multi", "clipped_cl"))],
    ids=lambda row: row.rule.name,
)
def test_rules_choose_the_same_with_64_bits(row):
    expected = np.asarray(jax.jit(row.rule)(UPDATES))
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(row.rule)(UPDATES))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@table.each(table.TRANSFORMATIONS)
def test_steps_take_strict_dtypes_with_64_bits(row):
    """State and updates keep their dtypes, or the loop would raise."""
    with jax.enable_x64(True):
        params, updates, extra = jax.tree.map(_doubled, table.inputs(row))
        jax.eval_shape(
            lambda *args: harness.steps_program(row.tx, "vmap")(*args),
            *harness.steps_inputs(params, updates, extra),
        )


def _doubled(leaf):
    """Return the leaf with twice the bits, which halves do not need."""
    return leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf


@pytest.mark.parametrize(
    "compressor",
    [jd.compression.qsgd(4), jd.compression.terngrad(), jd.compression.natural()],
    ids=repr,
)
def test_quantizers_are_unbiased_with_64_bits(compressor):
    with jax.enable_x64(True):
        testing.check_compressor(
            compressor, properties=["unbiasedness"], num_draws=2000
        )
