"""ATOMO: the unbiased sparsifier of least variance for its number of elements."""

from typing import Literal

from jaxdist import _checks
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _cosine, _matrix, _sampling, _spectral

_TRANSFORM = 64  # elements of a cosine transform


def atomo(
    density: float,
    block_size: int = 4096,
    basis: Literal["entry", "dct", "svd"] = "entry",
    *,
    axes: _matrix.MatrixAxes | None = None,
) -> _compressor.Compressor:
    r"""Keep atoms with the probabilities of least variance, scaled up.

    .. math:: x = \sum_i x_i a_i, \qquad
       C(x)_i = \frac{x_i}{p_i} \text{ with probability } p_i, \text{ else } 0,
       \qquad p_i = \min(\lambda |x_i|, 1), \quad \textstyle\sum_i p_i = k
       = \lceil \text{density} \cdot d \rceil

    The atoms :math:`a_i` are orthonormal: single elements, cosines or singular pairs.
    Never more than :math:`k` elements are drawn, and :math:`k` or one less where so
    many are not zero. One uniform number is drawn for each block. An element is taken
    when an integer falls into its interval of the summed probabilities. Neighbours are
    then not independent; the variance depends on the :math:`p_i` alone.

    Args:
      density: Kept share of the elements in (0, 1], no unit; at least one is kept.
      block_size: Most elements that share :math:`\lambda`, at most 65 536. A leaf is
        cut into equal blocks of at most this size; not of use for ``"svd"``.
      basis: ``"entry"``, the elements; ``"dct"``, cosine transforms of runs of 64; or
        ``"svd"``, the singular triples of a leaf as a matrix. As many triples travel
        as take ``density`` times the bytes of the leaf, at least one. Leaves that would
        not shrink travel as they are.
      axes: For ``"svd"``, which axes are rows, columns, or hold matrices of their own,
        as in :func:`power_sgd`.

    Returns:
      An unbiased compressor without state, with :math:`\omega = d/k - 1` in each block
      (plus rounding, below 0.2 % up to blocks of 4096), which is attained where all
      magnitudes are equal; with ``"svd"`` it is :math:`\min(n, m)/k - 1` of the worst
      shape with as many elements. Workers draw independently. NaN and infinities are
      drawn like the largest finite element; with ``"svd"`` they make the leaf
      non-finite. In float16, a value above 65 504 after scaling becomes 65 504.
      Singular vectors are exact to rounding only, and cannot be split for the route
      scatter.

    Raises:
      TypeError: If ``axes`` are none.
      ValueError: If ``density`` is outside (0, 1], ``block_size`` outside
        [1, 65 536], ``basis`` is none of the three, or ``axes`` are given for another
        than ``"svd"``; when applied, if a leaf has no such axes.

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf and :math:`k` indices
      within the block: 8 bits each up to 256 elements, 12 up to 4096, else 16. With
      ``"svd"`` :math:`k(n + m)` elements for :math:`k` triples of :math:`n \times m`.

    Example:
      >>> sent, _ = jaxdist.roundtrip(
      ...     jaxdist.compression.atomo(density=0.5),
      ...     jnp.array([4.0, 2, 1, 1]),
      ...     jax.random.key(0),
      ... )
      >>> print(sent[0].round(2), sent.sum().round(2))
      4.0 8.0

    References:
      Wang et al., `ATOMO: Communication-efficient Learning via Atomic Sparsification
      <https://arxiv.org/abs/1806.04090>`_, 2018, Algorithm 1. There atoms are drawn
      independently, and their number varies.
    """
    density = _checks.real("density", density, 0.0, 1.0, above=True, static=True)
    _checks.one_of("basis", basis, ("entry", "dct", "svd"))
    _matrix.check_axes("axes", axes)
    if axes is not None and basis != "svd":
        raise ValueError(f"`axes` must be None for the basis {basis!r}, got {axes}.")

    def level(sizes, sampler):
        return _sampling.water_level(sizes, sampler.budget)

    suffix = "" if basis == "entry" else f", {basis!r}"
    name = f"atomo({density}, {block_size}{suffix})"
    if basis == "svd":
        shown = "" if axes is None else f", axes={axes}"
        name = f"atomo({density}, {basis!r}{shown})"
        return _spectral.spectral_compressor(name, density, axes)
    entries = _sampling.sampled_compressor(name, density, block_size, level)
    if basis == "dct":
        return _cosine.in_frequencies(entries, _TRANSFORM, name)
    return entries
