"""Compressors that break one promise each, and what else they might be taken for."""

import dataclasses

import jax
import jax.numpy as jnp

import jaxdist as jd
from jaxdist import _tree

KEY = jax.random.key(99)


def rounding(up=lambda fraction: fraction, levels=7.0, clip=None, name="rounding"):
    """Round at random to multiples of the largest magnitude over ``levels``.

    An honest one rounds up with the probability ``up`` of the fraction itself.
    """

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        if clip is not None:
            limit = clip * jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True))
            rows = jnp.clip(rows, -limit, limit)
        largest = jnp.max(jnp.abs(rows), axis=1, keepdims=True)
        unit = jnp.where(largest > 0, largest / levels, 1.0)
        scaled = rows / unit
        floor = jnp.floor(scaled)
        uniform = jax.random.uniform(keys.own, rows.shape)
        rounded = jnp.where(uniform < up(scaled - floor), floor + 1, floor)
        return (jnp.where(jnp.isfinite(unit), rounded, 0).astype(jnp.int8), unit), state

    def decode(payload, like, keys):
        del keys
        return _tree.from_blocks(payload[0].astype(jnp.float32) * payload[1], like)

    contract = jd.Contract(
        unbiased=True, variance=lambda size: size / 4 / levels**2, stochastic=True
    )
    return jd.Compressor(lambda leaf: (), encode, decode, contract, name)


def bernoulli(share=0.25, capacity=None, worker_key="own", name="bernoulli"):
    """Keep each element with a probability, scaled; a capacity drops what is beyond."""

    def mask_of(keys, blocks, size):
        mask = jax.random.uniform(getattr(keys, worker_key), (blocks, size)) < share
        if capacity is None:
            return mask
        return mask & (jnp.cumsum(mask, axis=1) <= round(capacity * size))

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks)
        mask = mask_of(keys, *rows.shape)
        return jnp.where(mask, rows / jnp.asarray(share, rows.dtype), 0), state

    def decode(payload, like, keys):
        del keys
        return _tree.from_blocks(payload, like)

    contract = jd.Contract(
        unbiased=True,
        variance=lambda size: 1 / share - 1,
        stochastic=True,
        aligned=False,
    )
    return jd.Compressor(lambda leaf: (), encode, decode, contract, name)


def decoding(compressor, change, name):
    """Return the compressor with a change to what is decoded."""

    def decode(payload, like, keys):
        return change(compressor.decode(payload, like, keys))

    return compressor._replace(decode=decode, name=name, accumulate=None)


def encoding(compressor, change, name):
    """Return the compressor with a change to the leaf."""

    def encode(leaf, state, keys, blocks):
        return compressor.encode(change(leaf), state, keys, blocks)

    return compressor._replace(encode=encode, name=name)


def keyed(compressor, change, name):
    """Return the compressor with other keys than it gets."""

    def encode(leaf, state, keys, blocks):
        return compressor.encode(leaf, state, change(keys), blocks)

    def decode(payload, like, keys):
        return compressor.decode(payload, like, change(keys))

    return compressor._replace(encode=encode, decode=decode, name=name, accumulate=None)


def promising(compressor, name=None, **changes):
    """Return the compressor with another contract."""
    contract = dataclasses.replace(compressor.contract, **changes)
    return compressor._replace(contract=contract, name=name or compressor.name)


def _shift(where):
    """Add a thousandth of the largest magnitude to some elements."""

    def change(leaf):
        step = jnp.asarray(0.01, leaf.dtype) * jnp.max(jnp.abs(leaf))
        return jnp.where(where(leaf), leaf + step, leaf)

    return change


HONEST = [rounding(), bernoulli(), bernoulli(0.05, name="bernoulli(0.05)")]

BIASED = {
    "up_with_the_complement": rounding(lambda fraction: 1 - fraction),
    "up_too_often": rounding(lambda fraction: fraction + 0.03),
    "nearest": rounding(lambda fraction: jnp.where(fraction > 0.5, 1.0, 0.0)),
    "scale_d_over_k_plus_1": decoding(
        jd.compression.random_k(0.5),
        lambda x: x * jnp.asarray(31 / 32, x.dtype),
        "d/(k+1)",
    ),
    "clipped_at_2.5_sigma": rounding(clip=2.5),
    "truncated_at_capacity": bernoulli(0.25, capacity=0.3),
    "fixed_key": keyed(
        jd.compression.random_k(0.25), lambda keys: jd.Keys(KEY, KEY), "fixed"
    ),
    "shrinks_by_1_percent": decoding(
        jd.compression.qsgd(8), lambda x: x * jnp.asarray(0.99, x.dtype), "shrinks"
    ),
    "random_k_shrinks_by_1_percent": decoding(
        jd.compression.random_k(0.1),
        lambda x: x * jnp.asarray(0.99, x.dtype),
        "shrinks",
    ),
    "only_negative_elements": encoding(
        jd.compression.qsgd(8), _shift(lambda x: x < 0), "neg"
    ),
    "only_zero_elements": encoding(
        jd.compression.qsgd(8), _shift(lambda x: x == 0), "zero"
    ),
}
