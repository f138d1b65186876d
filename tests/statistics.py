"""Draws of a compressor on one leaf, and the kit's test of means on them."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd
from jaxdist.testing import _mean_test

FALSE_ALARM = 1e-6  # probability that an unbiased compressor fails one call


def draws(compressor, leaf, num_draws, blocks=1, seed=0):
    """Return ``[num_draws, size]`` decodings with independent keys."""
    like = jax.ShapeDtypeStruct(leaf.shape, jnp.float32)

    def one(key):
        keys = jd.Keys(key, jax.random.fold_in(key, 0))
        payload, _ = compressor.encode(leaf, compressor.init(leaf), keys, blocks)
        return compressor.decode(payload, like, keys).reshape(-1)

    keys = jax.random.split(jax.random.key(seed), num_draws)
    return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def bias_over_bound(compressor, leaf, num_draws=20_000, **kwargs):
    """Return the worst mean error over the bound that an unbiased one keeps.

    One test for each element of this one leaf, and for the directions of ones and of
    the leaf. An element whose error has a kurtosis above ``num_draws / 160`` (one that
    is rounded up more rarely than that) may alarm falsely.
    """
    exact = np.asarray(leaf, np.float64).reshape(-1)
    unit = np.abs(exact).max()
    errors = draws(compressor, leaf, num_draws, **kwargs) / unit - exact / unit
    directions = np.stack([np.ones(leaf.size), exact / unit])
    samples = np.concatenate([errors, errors @ directions.T], axis=1)
    means = _mean_test.Means(
        [""] * samples.shape[1],
        samples.sum(axis=0),
        np.sum(samples**2, axis=0),
        np.full(samples.shape[1], 1e-6 * np.sqrt(leaf.size)),  # of float32
        num_draws,
        "one leaf",
    )
    log = _mean_test.alarm_level(FALSE_ALARM, samples.shape[1])
    return _mean_test.worst_verdict(means, log).ratio


def exact_variance(vector, levels, norm="l2"):
    """Return omega of rounding at random, from the fractional parts."""
    unit = NORMS[norm](vector) / levels
    fraction = np.abs(vector) / unit % 1
    return unit**2 * (fraction * (1 - fraction)).sum() / (vector**2).sum()


NORMS = {"l2": np.linalg.norm, "max": lambda vector: np.abs(vector).max()}
