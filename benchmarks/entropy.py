"""Print bits per coordinate of every compressor and the entropy of its message.

PYTHONPATH=examples python benchmarks/entropy.py

The message is the whole gradient of a small transformer. Bytes of levels and signs are
counted at their empirical entropy, the places of k among d elements at log2 C(d, k),
and floating-point numbers at their width: what an entropy coder of those would send.
"""

import math

import gradients
import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd

TOP = jd.compression.top_k(0.01, 4096)
DEMO = jd.compression.top_k(32 / 4096, 4096)
# Each with the sparsifier whose places it sends, if any.
COMPRESSORS = [
    (jd.compression.cast(jnp.bfloat16), None),
    (jd.compression.natural(), None),
    (jd.compression.blockwise_float8(), None),
    (jd.compression.blockwise_int(8), None),
    (jd.compression.blockwise_int(4), None),
    (jd.compression.qsgd(8), None),
    (jd.compression.qsgd(4), None),
    (jd.compression.qsgd(2), None),
    (jd.compression.eden(4), None),
    (jd.compression.eden(3), None),
    (jd.compression.eden(2), None),
    (jd.compression.terngrad(), None),
    (jd.compression.drive(), None),
    (jd.compression.scaled_sign(), None),
    (jd.compression.one_bit(), None),
    (TOP, TOP),
    (jd.compression.top_k(0.01), jd.compression.top_k(0.01)),
    (jd.compression.dct_top_k(0.01), TOP),
    (jd.compression.atomo(0.01), jd.compression.atomo(0.01)),
    (jd.compression.random_k(0.01), None),
    (DEMO, DEMO),
    (jd.compression.quantized(DEMO, jd.compression.cast(jnp.bfloat16)), DEMO),
    (jd.compression.quantized(DEMO, jd.compression.blockwise_int(8, 512)), DEMO),
    (jd.compression.quantized(DEMO, jd.compression.qsgd(4)), DEMO),
]


def main() -> None:
    """Print the table."""
    tree = gradients.all_of_them()["transformer on bytes"][-1]
    leaf = gradients.flat(tree)
    print(f"d = {leaf.size}\n")
    print(
        "| compressor | bits per coordinate | entropy | over it |\n|---|---:|---:|---:|"
    )
    for compressor, sparsifier in COMPRESSORS:
        sent = 8 * jd.payload_nbytes(compressor, leaf) / leaf.size
        bound = entropy(compressor, sparsifier, leaf) / leaf.size
        print(
            f"| `{compressor.name}` | {sent:.4f} | {bound:.4f} "
            f"| {(sent / bound - 1):.1%} |"
        )
    _demo()


def entropy(compressor, sparsifier, leaf) -> float:
    """Return the bits of one message, see above."""
    keys = jd.Keys(jax.random.key(1), jax.random.key(2))
    payload, _ = compressor.encode(leaf, compressor.init(leaf), keys, 1)
    arrays = [np.asarray(array) for array in jax.tree.leaves(payload)]
    bits = 0.0
    if sparsifier:
        arrays.pop()  # the packed places
        values, _ = sparsifier.encode(leaf, sparsifier.init(leaf), keys, 1)
        _, blocks, kept = jax.tree.leaves(values)[0].shape
        bits += blocks * _log2_choose(-(-leaf.size // blocks), kept)
    for array in arrays:
        narrow = array.dtype.itemsize == 1
        bits += _empirical(array.view(np.uint8)) if narrow else 8 * array.nbytes
    return bits


def _empirical(array):
    """Return the bits of all bytes at the entropy of their frequencies."""
    counts = np.bincount(array.ravel(), minlength=256)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def _log2_choose(size, kept):
    parts = math.lgamma(size + 1) - math.lgamma(kept + 1) - math.lgamma(size - kept + 1)
    return parts / math.log(2)


def _demo():
    """Print the layout of DeMo: 10.49M elements, 32 of each block of 4096."""
    leaf = jax.ShapeDtypeStruct((2560, 4096), jnp.float32)
    demo = 2560 * 32 * (4 + 8)
    print(f"\n| 2560 x 4096, 32 of each block | bytes | of DeMo's {demo} |")
    print("|---|---:|---:|")
    quantizers = [
        jd.compression.cast(jnp.bfloat16),
        jd.compression.blockwise_int(8),
        jd.compression.qsgd(8),
    ]
    for compressor in [DEMO, *(jd.compression.quantized(DEMO, q) for q in quantizers)]:
        nbytes = jd.payload_nbytes(compressor, leaf)
        print(f"| `{compressor.name}` | {nbytes} | {nbytes / demo:.3f} |")


if __name__ == "__main__":
    main()
