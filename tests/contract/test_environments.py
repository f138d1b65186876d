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
