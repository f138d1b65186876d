"""DCT top-k: the largest coefficients of short cosine transforms."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _tree, _types
from jaxdist.compression import _sampling, _top_k

_LARGEST_TRANSFORM = 512  # elements: the matrix is a constant of the program


def dct_top_k(
    density: float, block_size: int | None = 4096, transform_size: int = 64
) -> _types.Compressor:
    r"""Keep the largest coefficients of an orthonormal cosine transform.

    .. math:: C(x) = F^\top \mathrm{top}_k(F x), \qquad F_{ij} = \sqrt{\tfrac{2 -
       [i = 0]}{n}} \cos \frac{\pi i (2j + 1)}{2n}

    The elements are cut in row-major order into runs of :math:`n` that are transformed
    each alone; the last one is padded with zeros. A leaf of any shape and size will do.

    Args:
      density: Kept share of the coefficients in (0, 1], no unit; at least one is kept.
      block_size: Coefficients among which the largest are found, over many transforms;
        None is the whole leaf (or, on the scatter route, the leaf's part for one
        worker). They are cut into equal blocks of at most this size.
      transform_size: :math:`n` in [1, 512]; shorter where there are fewer elements.

    Returns:
      A biased compressor without state, a contraction with :math:`\delta = k/d` in
      each block of coefficients. Ties keep the lower frequency. A NaN or infinity
      makes the transform that it is in non-finite.

    Raises:
      ValueError: If ``density`` is outside (0, 1], ``block_size`` is below 1 or
        ``transform_size`` is outside [1, 512].

    Communication:
      Payload of :math:`k` coefficients in the dtype of the leaf and :math:`k` indices
      within the block: 8 bits each up to 256 coefficients, 12 up to 4096, 16 up to
      65 536, else 32.

    Example:
      >>> sent, _ = jaxdist.roundtrip(jaxdist.dct_top_k(0.01), 3.0 * jnp.ones(64))
      >>> print(jnp.allclose(sent, 3.0))
      True

    References:
      Peng et al., `DeMo: Decoupled Momentum Optimization
      <https://arxiv.org/abs/2411.19870>`_, 2024. There matrices are cut into squares
      whose sides divide theirs, and transformed along both.
    """
    size_limit = _checks.integer(
        "transform_size", transform_size, 1, _LARGEST_TRANSFORM
    )
    inner = _top_k.top_k(density, block_size)

    def encode(leaf, state, keys, blocks):
        rows = _tree.to_blocks(leaf, blocks).astype(jnp.float32)
        length, padded = _lengths(rows.shape[1], size_limit)
        runs = jnp.pad(rows, ((0, 0), (0, padded - rows.shape[1])))
        coefficients = jnp.matmul(
            runs.reshape(-1, length), _basis(length).T, precision="highest"
        )
        flat = _sampling.narrowed(coefficients.reshape(-1), leaf.dtype)
        return inner.encode(flat, state, keys, blocks)

    def decode(payload, like, keys):
        blocks = payload[0].shape[0]
        size = _tree.block_size(math.prod(like.shape), blocks)
        length, padded = _lengths(size, size_limit)
        flat = jax.ShapeDtypeStruct((blocks * padded,), jnp.float32)
        coefficients = inner.decode(payload, flat, keys)
        runs = jnp.matmul(
            coefficients.reshape(-1, length), _basis(length), precision="highest"
        )
        return _tree.from_blocks(runs.reshape(blocks, padded)[:, :size], like)

    def variance(size):
        return inner.contract.variance(_lengths(size, size_limit)[1])

    contract = _types.Contract(variance=variance, aligned=False, projection=True)
    return _types.Compressor(
        lambda leaf: (),
        encode,
        decode,
        contract,
        f"dct_{inner.name[:-1]}, transform_size={size_limit})",
    )


def _lengths(size: int, limit: int) -> tuple[int, int]:
    """Return the length of a transform, and of all in a block of ``size`` elements."""
    length = min(size, limit)
    return length, math.ceil(size / length) * length


def _basis(length: int) -> np.ndarray:
    """Return the orthonormal DCT-II as a float32 matrix whose rows are frequencies."""
    frequency, place = np.ogrid[:length, :length]
    waves = np.cos(np.pi * frequency * (2 * place + 1) / (2 * length))
    waves[0] /= np.sqrt(2)
    return (waves * np.sqrt(2 / length)).astype(np.float32)
