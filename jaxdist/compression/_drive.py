"""DRIVE: rotate, then send one bit per element."""

from typing import Literal

from jaxdist.compression import _compressor, _eden


def drive(
    block_size: int = 1024,
    scale: Literal["least_squares", "inner_product"] = "least_squares",
) -> _compressor.Compressor:
    r"""Rotate each block at random and send the signs: :func:`eden` with one bit.

    .. math:: y = Rx, \quad C(x) = S\,R^\top \mathrm{sign}(y), \quad
       S = \frac{\|y\|_1}{d} \text{ or } \frac{\|x\|_2^2}{\|y\|_1}

    Args:
      block_size: Most elements that are rotated together, a power of two up to 65 536;
        see :func:`eden`.
      scale: ``"least_squares"``, the first :math:`S`, is closest to the block;
        ``"inner_product"``, the second, is for averages without feedback.

    Returns:
      A biased compressor without state. With ``"least_squares"`` a contraction with
      :math:`\delta \ge 1/2` for every leaf, however sparse, where
      :func:`scaled_sign` has only :math:`1/d`; :math:`2/\pi` for blocks that rotate to
      a normal. ``"inner_product"`` has no proven bound and is unbiased only as far as
      the rotation is uniform. NaN or infinity in a block makes the whole block
      non-finite.

    Raises:
      ValueError: If ``block_size`` is no power of two in [1, 65536] or ``scale`` is
        neither of the two.

    Communication:
      Payload of a bit per element of the padded blocks and a float32 per block.

    Example:
      >>> leaf = jnp.zeros(64).at[3].set(5.0)
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.drive(), leaf, jax.random.key(0)
      ... )
      >>> print(bool(jnp.allclose(sent, leaf, atol=1e-5)))
      True

    References:
      Vargaftik et al., `DRIVE: One-bit Distributed Mean Estimation
      <https://arxiv.org/abs/2105.08339>`_, 2021, Algorithm 1 with the structured
      rotation of Section 6. The bound of 1/2 is Khintchine's inequality and holds for
      that rotation.
    """
    compressor = _eden.eden(1, block_size, scale)
    suffix = "" if scale == "least_squares" else f", {scale!r}"
    return compressor._replace(name=f"drive({block_size}{suffix})")
