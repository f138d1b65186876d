"""Time our compressors on 10M float32, and print the seconds as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import timing

import jaxdist as jd

COMPRESSORS = {
    "sign": jd.compression.scaled_sign(),
    "top-1 % of blocks": jd.compression.top_k(0.01, 4096),
    "top-1 %": jd.compression.top_k(0.01),
    "int8": jd.compression.blockwise_int(8),
    "float16": jd.compression.cast(jnp.float16),
    "random 8 bits": jd.compression.qsgd(8),
    "rotated sign": jd.compression.drive(),
}


def main(rounds: int) -> None:
    """Measure a copy, and encode and decode of all compressors, in turn."""
    # As torch does: the caller's thread computes, and nothing waits to be woken.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    leaf = jax.random.normal(jax.random.key(0), (timing.SIZE,))
    functions = {"copy": _timed(jax.jit(jnp.copy), leaf)}
    results = {}
    for name, compressor in COMPRESSORS.items():
        roundtrip = _roundtrip(compressor)
        seen = roundtrip(leaf)
        functions[name] = _timed(roundtrip, leaf)
        results[name] = {
            "method": compressor.name,
            "bytes": jd.payload_nbytes(compressor, leaf) / timing.SIZE,
            "error": float(jnp.sum((seen - leaf) ** 2) / jnp.sum(leaf**2)),
        }
    seconds = timing.interleaved(functions, rounds)
    for name, result in results.items():
        result["seconds"] = seconds[name]
    json.dump({"copy": seconds["copy"], "results": results}, sys.stdout)


def _roundtrip(compressor):
    # Two programs, as the network makes them: in one, XLA would not write the payload.
    keys = jd.Keys(jax.random.key(1), jax.random.key(2))

    @jax.jit
    def encode(leaf):
        return compressor.encode(leaf, compressor.init(leaf), keys, 1)[0]

    @jax.jit
    def decode(payload):
        like = jax.ShapeDtypeStruct((timing.SIZE,), jnp.float32)
        return compressor.decode(payload, like, keys)

    return lambda leaf: decode(encode(leaf))


def _timed(function, leaf):
    return lambda: jax.block_until_ready(function(leaf))


if __name__ == "__main__":
    main(int(sys.argv[1]))
