"""DCT top-k: the largest coefficients of short cosine transforms."""

from typing import Literal

from jaxdist import _checks
from jaxdist.compression import _compressor, _top_k
from jaxdist.compression.numerics import _cosine


def dct_top_k(
    density: float,
    block_size: int | None = 4096,
    transform_size: int = 64,
    *,
    dimensions: Literal[1, 2] = 1,
) -> _compressor.Compressor:
    r"""Keep the largest coefficients of an orthonormal cosine transform.

    .. math:: C(x) = F^\top \mathrm{top}_k(F x), \qquad F_{ij} = \sqrt{\tfrac{2 -
       [i = 0]}{n}} \cos \frac{\pi i (2j + 1)}{2n}

    The elements are cut in row-major order into runs of :math:`n`. Each run is
    transformed alone; the last run is padded with zeros. A leaf may have any shape and
    size.

    Args:
      density: Kept share of the coefficients in (0, 1], no unit; at least one is kept.
      block_size: Coefficients among which the largest are found, over many transforms;
        None is the whole leaf (or, on the scatter route, the leaf's part for one
        worker). They are cut into equal blocks of at most this size.
      transform_size: :math:`n` in [1, 512]; shorter where there are fewer elements.
      dimensions: 1, or 2 to cut a matrix into equal tiles of at most
        :math:`n \times n` that are transformed along both sides, :math:`F X F^\top`:
        fewer coefficients where neighbouring rows are alike too. The columns of the
        matrix are the last axis of the leaf, its rows all others; a vector is one row.

    Returns:
      A biased compressor without state, a contraction with :math:`\delta = k/d` in
      each block of coefficients. Ties keep the lower frequency. A NaN or infinity
      makes its whole transform non-finite. In 2 dimensions a leaf cannot be split, so
      it cannot take the route scatter.

    Raises:
      ValueError: If ``density`` is outside (0, 1], ``block_size`` is below 1,
        ``transform_size`` is outside [1, 512] or ``dimensions`` is neither 1 nor 2.

    Communication:
      Payload of :math:`k` coefficients in the dtype of the leaf and :math:`k` indices
      within the block: 8 bits each up to 256 coefficients, 12 up to 4096, 16 up to
      65 536, else 32.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.dct_top_k(0.01), 3.0 * jnp.ones(64)
      ... )
      >>> print(jnp.allclose(sent, 3.0))
      True

    References:
      Peng et al., `DeMo: Decoupled Momentum Optimization
      <https://arxiv.org/abs/2411.19870>`_, 2024. There matrices are cut into squares
      whose sides divide theirs, and transformed along both: that is ``dimensions=2``,
      which pads instead where none divide.
    """
    dimensions = _checks.one_of("dimensions", dimensions, (1, 2))
    inner = _top_k.top_k(density, block_size)
    name = f"dct_{inner.name[:-1]}, transform_size={transform_size})"
    if dimensions == 2:
        # However much a leaf is padded, at least this share of a block is kept.
        return _cosine.in_square_frequencies(
            inner,
            transform_size,
            f"{name[:-1]}, dimensions=2)",
            variance=lambda size: 1.0 - density,
        )
    return _cosine.in_frequencies(inner, transform_size, name)
