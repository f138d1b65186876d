"""Fractional repetition: groups of workers with the same data."""

import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _placement


def fractional_repetition(
    num_workers: int, num_stragglers: int, num_units: int | None = None
) -> _code.Code:
    r"""Give the same block to :math:`s + 1` workers, so any s of W may be missing.

    .. math:: B = W / (s + 1), \qquad b_i = i \bmod B

    One worker of each group is enough. Any W - s workers always are; by chance far
    fewer: with groups of :math:`q = s + 1` and an order of arrival in which all are
    alike, :math:`(W + 1) \sum_{j=1}^B (-1)^{j+1} \binom{B}{j} / (jq + 1)` on average.

    Args:
      num_workers: W, at least 1.
      num_stragglers: :math:`s`, workers that may be missing whoever they are, in
        [0, W-1]; :math:`s + 1` divides W.
      num_units: Units of data, at least B. They are split as evenly as possible; W by
        default, with blocks of :math:`s + 1`.

    Returns:
      A repetition code with B blocks.

    Raises:
      ValueError: If an argument is out of range, or :math:`s + 1` does not divide W.

    Communication:
      Simulated. Each worker sends one gradient: :math:`4 d` bytes for :math:`d` float32
      parameters.

    Example:
      >>> code = jaxdist.coding.fractional_repetition(6, num_stragglers=2)
      >>> print(code.num_blocks, code.loads, code.threshold)
      2 [3 3 3 3 3 3] 4
      >>> arrived = jnp.array([False, True, False, True, True, False])
      >>> print(code.decode(arrived).covered)
      True

    References:
      Tandon et al., `Gradient Coding: Avoiding Stragglers in Distributed Learning
      <https://proceedings.mlr.press/v70/tandon17a.html>`_, 2017.
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    s = _checks.integer("num_stragglers", num_stragglers, 0, num_workers - 1)
    if num_workers % (s + 1):
        raise ValueError(
            f"`num_stragglers` + 1 must divide `num_workers`, got {s} and "
            f"{num_workers}. cyclic_repetition takes any number."
        )
    num_blocks = num_workers // (s + 1)
    if num_units is not None:
        num_units = _checks.integer("num_units", num_units, num_blocks)
    blocks = np.arange(num_workers) % num_blocks
    more = "" if num_units is None else f", {num_units}"
    return _code.Code(
        f"fractional_repetition({num_workers}, {s}{more})",
        _placement.one_block_each(blocks, num_blocks),
        _placement.even_sizes(num_units or num_workers, num_blocks),
        threshold=num_workers - s,
    )
