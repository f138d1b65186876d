"""Time our compressors on 10M float32, and print the seconds as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import timing

import jaxdist as jd

COMPRESSORS = {
    "sign": jd.scaled_sign(),
    "top-1 % of blocks": jd.top_k(0.01, 4096),
    "top-1 %": jd.top_k(0.01),
    "int8": jd.blockwise_int(8),
    "float16": jd.cast(jnp.float16),
    "random 8 bits": jd.qsgd(8),
    "rotated sign": jd.drive(),
}


def main(rounds: int) -> None:
    """Measure a copy, and encode and decode of all compressors, in turn."""
    # As torch does: the caller's thread computes, and nothing waits to be woken.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    leaf = jax.random.normal(jax.random.key(0), (timing.SIZE,))
    functions = {"copy": _timed(jnp.copy, leaf)}
    results = {}
    for name, compressor in COMPRESSORS.items():
        roundtrip = _roundtrip(compressor)
        seen = jax.jit(roundtrip)(leaf)
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
    def roundtrip(leaf):
        keys = jd.Keys(jax.random.key(1), jax.random.key(2))
        payload, _ = compressor.encode(leaf, compressor.init(leaf), keys, 1)
        # Kept apart, as the network would.
        payload = jax.lax.optimization_barrier(payload)
        return compressor.decode(payload, leaf, keys)

    return roundtrip


def _timed(function, leaf):
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(leaf))


if __name__ == "__main__":
    main(int(sys.argv[1]))
