"""The payload, its blocks, and adding without decoding."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist import testing
from tests.testing import defects


def broken(compressor, name, match, **options):
    with pytest.raises(AssertionError, match=match):
        testing.check_compressor(compressor, properties=[name], **options)


def paying(change, name="pays"):
    """Return the identity with something else as payload."""

    def encode(leaf, state, keys, blocks):
        payload, state = jd.compression.identity().encode(
            leaf.reshape(-1), state, keys, blocks
        )
        return change(payload), state

    def decode(payload, like, keys):
        rows = payload[0] if isinstance(payload, tuple) else payload
        return jd.compression.identity().decode(rows, like, keys)

    return jd.compression.identity()._replace(encode=encode, decode=decode, name=name)


def test_payload_has_rows_of_blocks():
    broken(
        paying(lambda x: (x, x[0, 0])), "payload", r"float32\[\], whose leading axis"
    )
    broken(paying(lambda x: (x, x.T)), "payload", r"not `blocks`, 1")
    broken(paying(lambda x: ()), "payload", "holds no array|raised")


def test_payload_has_the_bytes_that_are_expected():
    testing.check_compressor(
        jd.compression.identity(), properties=["payload"], nbytes={10: 40}
    )
    broken(
        jd.compression.identity(),
        "payload",
        "payload of 10 float32 has 40 bytes, not 41",
        nbytes={10: 41},
    )


def test_payload_fills_whole_bytes():
    narrow = paying(lambda x: (x, (x > 0).astype(jnp.int4)))
    broken(narrow, "payload", "pack such values into uint8")


def test_nothing_travels_beside_the_payload():
    kept = []

    def encode(leaf, state, keys, blocks):
        kept.append(leaf)
        return jnp.zeros((blocks, 1)), state

    cheating = jd.compression.identity()._replace(
        encode=encode, decode=lambda payload, like, keys: kept[-1], name="cheats"
    )
    broken(cheating, "payload", "it raised UnexpectedTracerError")


def test_blocks_decode_alone():
    def decode(payload, like, keys):
        rows = payload - payload.mean(axis=0, keepdims=True) / 8
        return jd.compression.identity().decode(rows, like, keys)

    together = paying(lambda x: x)._replace(decode=decode)
    broken(together, "blocks", "each decoded alone, do not join to the whole")
    whole = defects.promising(together, splittable=False)
    report = testing.check_compressor(whole, properties=["blocks"])
    assert not report.properties[0].promised


def test_accumulate_adds():
    good = jd.compression.top_k(0.2)
    testing.check_compressor(good, properties=["accumulate"])
    sets = good._replace(accumulate=lambda total, p, k, share: good.decode(p, total, k))
    broken(sets, "accumulate", "does not add 1.0 of what `decode` gives")
    narrows = good._replace(
        accumulate=lambda total, p, k, share: (
            good.accumulate(total, p, k, share).astype(p[0].dtype)
            if good.accumulate
            else total
        )
    )
    broken(narrows, "accumulate", r"a total of float32\[61\] into bfloat16\[61\]")
