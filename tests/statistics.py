"""A test of unbiasedness whose false alarms are counted."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd

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

    One test for each coordinate and for a few fixed directions, the leaf's own among
    them. By the empirical Bernstein inequality (Maurer and Pontil, 2009, Theorem 4) the
    mean of n independent draws within a range B exceeds its bound with probability at
    most p, here ``FALSE_ALARM`` over the number of tests; B is taken from the draws.
    """
    size = leaf.size
    exact = np.asarray(leaf, np.float64).reshape(-1)
    unit = np.abs(exact).max()
    errors = draws(compressor, leaf, num_draws, **kwargs) / unit - exact / unit
    rng = np.random.default_rng(0)
    directions = np.stack([np.ones(size), exact / unit, rng.standard_normal(size)])
    samples = np.concatenate([errors, errors @ directions.T], axis=1)
    log = np.log(4 * samples.shape[1] / FALSE_ALARM)
    bound = np.sqrt(2 * samples.var(axis=0, ddof=1) * log / num_draws)
    bound += 7 * np.ptp(samples, axis=0) * log / (3 * (num_draws - 1))
    rounding = 1e-6 * np.sqrt(size)  # of float32
    return (np.abs(samples.mean(axis=0)) / (bound + rounding)).max()
