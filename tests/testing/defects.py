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


def scaled(factor, where=lambda leaf: True):
    """Return what multiplies, where a property of the array holds."""

    def change(leaf):
        return leaf * jnp.asarray(factor, leaf.dtype) if where(leaf) else leaf

    return change


def without_block(compressor, index, at_least, factor=0, name="cut"):
    """Return the compressor that loses a block of those leaves that have many."""

    def decode(payload, like, keys):
        seen = compressor.decode(payload, like, keys)
        blocks = jax.tree.leaves(payload)[0].shape[0]
        if blocks < at_least:
            return seen
        rows = _tree.to_blocks(seen, blocks)
        rows = rows.at[index].multiply(jnp.asarray(factor, rows.dtype))
        return _tree.from_blocks(rows, like)

    return compressor._replace(decode=decode, name=name, accumulate=None)


def without_tail(compressor, length, name="tail"):
    """Return the compressor that loses what is behind so many elements."""

    def change(leaf):
        index = jnp.arange(leaf.size).reshape(leaf.shape)
        return jnp.where(index < length, leaf, 0)

    return decoding(compressor, change, name)


def remembering(
    keep=lambda wanted, sent, old: wanted - sent,
    add=lambda leaf, old: leaf + old,
    name="remembers",
    remembers=True,
    **changes,
):
    """Return error feedback around top-k; an honest one keeps ``wanted - sent``."""
    inner = jd.compression.top_k(0.1)

    def init(leaf):
        return jnp.zeros_like(leaf, dtype=jnp.float32)

    def encode(leaf, state, keys, blocks):
        wanted = add(leaf.astype(jnp.float32), state)
        payload, _ = inner.encode(wanted.astype(leaf.dtype), (), keys, blocks)
        sent = inner.decode(payload, _tree.like_leaf(wanted), keys)
        kept = keep(wanted, sent, state)
        return payload, jnp.where(jnp.isfinite(kept), kept, state)

    changed = inner._replace(init=init, encode=encode, name=name, remembers=remembers)
    return changed._replace(**changes)


def estimating(gain, name="estimates"):
    """Return EF21 of top-k; an honest sender adds what it sent, no more."""
    return remembering(
        keep=lambda wanted, sent, old: old + gain * sent,
        add=lambda leaf, old: leaf - old,
        name=name,
        incremental=True,
    )


def carrying(passenger, name="carries"):
    """Return a compressor whose payload holds something that nobody reads."""
    inner = rounding()

    def encode(leaf, state, keys, blocks):
        payload, state = inner.encode(leaf, state, keys, blocks)
        return (payload, passenger(blocks)), state

    def decode(payload, like, keys):
        return inner.decode(payload[0], like, keys)

    return inner._replace(encode=encode, decode=decode, name=name)


def padded_payload(num_bytes, name="padded"):
    """Return a compressor with so many bytes of nothing behind each row."""
    inner = rounding()

    def encode(leaf, state, keys, blocks):
        (rounded, unit), state = inner.encode(leaf, state, keys, blocks)
        return (jnp.pad(rounded, ((0, 0), (0, num_bytes))), unit), state

    def decode(payload, like, keys):
        return inner.decode((payload[0][:, :-num_bytes], payload[1]), like, keys)

    return inner._replace(encode=encode, decode=decode, name=name)


def rarely_not_zero(share, name="rarely"):
    """Return a compressor that turns a few zeros into something."""
    inner = jd.compression.identity()

    def encode(leaf, state, keys, blocks):
        flips = jax.random.uniform(keys.own, leaf.shape) < share
        largest = jnp.max(jnp.abs(leaf))
        changed = jnp.where(flips & (leaf == 0), largest, leaf)
        return inner.encode(changed, state, keys, blocks)

    contract = jd.Contract(variance=lambda size: 1.0, stochastic=True, keeps_zeros=True)
    return inner._replace(encode=encode, contract=contract, name=name)


def is_dtype(dtype):
    """Return whether an array has a dtype."""
    return lambda leaf: leaf.dtype == dtype


def smallest_elements(name="smallest"):
    """Return top-k that keeps the smallest of a narrow leaf."""
    inner = jd.compression.top_k(0.1)

    def encode(leaf, state, keys, blocks):
        if leaf.dtype == jnp.float32:
            return inner.encode(leaf, state, keys, blocks)
        inverse = jnp.where(leaf == 0, 0, 1 / leaf)
        payload, state = inner.encode(inverse, state, keys, blocks)
        values, indices = payload
        return (jnp.where(values == 0, 0, 1 / values), indices), state

    return inner._replace(encode=encode, name=name)


def _flush(leaf):
    return jnp.where(jnp.abs(leaf) < 1e-20, 0, leaf)


_QSGD, _TOP, _SAME = (
    jd.compression.qsgd(8),
    jd.compression.top_k(0.1),
    (jd.compression.identity()),
)

PLANTED = {
    "long_leaves": [
        without_block(rounding(), -1, 8),
        without_block(_TOP, -1, 8, name="last of eight"),
        without_block(rounding(), 4, 16, name="fifth of sixteen"),
        without_block(_QSGD, 40, 33, 0.9, name="a little of one of many"),
        without_tail(rounding(), 1000),
        without_tail(_TOP, 1000, "tail of top-k"),
        decoding(_QSGD, scaled(0.97, lambda x: x.size > 500), "shrinks what is long"),
    ],
    "memory": [
        remembering(lambda wanted, sent, old: old, name="never written"),
        remembering(lambda w, s, old: old, name="says nothing", remembers=False),
        remembering(lambda wanted, sent, old: 2 * (wanted - sent), name="twice"),
        remembering(lambda w, s, old: 1.05 * (w - s), name="one of twenty more"),
        remembering(lambda w, s, old: 1.01 * (w - s), name="one of a hundred more"),
        remembering(add=lambda leaf, old: leaf + 2 * old, name="added twice"),
        remembering(lambda wanted, sent, old: wanted, name="not taken off"),
        remembering(lambda wanted, sent, old: sent - wanted, name="other sign"),
        remembering(lambda w, s, old: (w - s)[::-1], name="other order"),
        remembering(lambda w, s, old: (w - s).at[:20].set(0), name="forgets some"),
        remembering(name="without saying so", remembers=False),
        estimating(1.01),
        estimating(0.0, "never adds"),
        rounding(name="no state")._replace(remembers=True),
    ],
    "payload": [
        carrying(lambda blocks: jnp.ones((blocks, 1000), jnp.uint8)),
        carrying(lambda blocks: jnp.ones((blocks, 1)), "one number"),
        padded_payload(1000),
    ],
    "zeros": [
        rarely_not_zero(5e-4),
        decoding(
            _SAME,
            lambda x: x + jnp.asarray(x.dtype == jnp.float16, x.dtype),
            "one more in float16",
        ),
    ],
    "projection": [
        promising(
            decoding(_TOP, scaled(0.99), "99 of 100"), projection=True, keeps_zeros=True
        ),
        promising(_QSGD, "quantizes", projection=True),
    ],
    "narrow_dtypes": [
        encoding(rounding(), scaled(0.95, is_dtype(jnp.bfloat16)), "less in bfloat16"),
        encoding(_QSGD, scaled(0.95, is_dtype(jnp.float16)), "less in float16"),
        encoding(bernoulli(), scaled(1.05, is_dtype(jnp.float16)), "more in float16"),
        decoding(_QSGD, scaled(0.95, is_dtype(jnp.bfloat16)), "decodes to less"),
        smallest_elements(),
    ],
    "alignment": [
        promising(_TOP, "by value", aligned=True),
        promising(bernoulli(), "by worker", aligned=True),
    ],
    "linearity": [
        keyed(
            jd.compression.random_k(0.3), lambda k: jd.Keys(k.own, k.common), "own keys"
        ),
        promising(jd.compression.scaled_sign(), "signs", linear=True),
    ],
    "determinism": [
        keyed(_QSGD, lambda keys: jd.Keys(KEY, KEY), "key of its own"),
        promising(_QSGD, "says nothing", stochastic=False),
    ],
    "variance": [
        promising(bernoulli(), "too little", variance=lambda size: 2.85),
        promising(_TOP, "twice the contraction", variance=lambda size: 0.8),
    ],
    "independence": [bernoulli(worker_key="common", name="together")],
    "unbiasedness": [encoding(rounding(), _flush, "flushes what is tiny")],
    "not_finite": [
        encoding(_SAME, lambda x: jnp.nan_to_num(x, nan=1), "a number for NaN"),
        encoding(_SAME, lambda x: jnp.clip(x, -9, 9), "clips"),
        remembering(name="poisoned")._replace(
            encode=lambda leaf, state, keys, blocks: (
                _SAME.encode(leaf, (), keys, blocks)[0],
                state + leaf.astype(jnp.float32),
            ),
            decode=_SAME.decode,
            accumulate=None,
        ),
    ],
    "shape_and_dtype": [
        decoding(_SAME, lambda x: x.astype(jnp.float32), "wide"),
        decoding(_SAME, lambda x: x.reshape(-1), "flat"),
    ],
    "state": [
        remembering(name="narrows")._replace(
            encode=lambda leaf, state, keys, blocks: (
                _TOP.encode(leaf, (), keys, blocks)[0],
                state.astype(jnp.bfloat16),
            )
        )
    ],
    "accumulate": [
        _TOP._replace(
            name="without the share",
            accumulate=lambda total, payload, keys, share: (
                total + _TOP.decode(payload, _tree.like_leaf(total), keys)
            ),
        )
    ],
}
HONEST_MEMORIES = [
    remembering(),
    remembering(lambda wanted, sent, old: 0.9 * (wanted - sent), name="forgets"),
    estimating(1.0),
]
