"""Repetition: each batch on several workers, as evenly as it goes."""

import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _placement


def repetition(num_workers: int, num_batches: int) -> _code.Code:
    r"""Let W workers compute B batches, each of them on ``W // B`` workers or more.

    .. math:: b_i = i \bmod B

    Where B divides W this is :func:`fractional_repetition` with
    :math:`s = W/B - 1`, named by its batches. It is the code for
    :func:`jaxdist.recover`, with which the gradient of all batches survives workers
    that fail. Each worker then computes B / W of what W workers could in the same time:
    that is the price.

    Args:
      num_workers: W, at least 1.
      num_batches: B, in [1, W]; the batches are of one size.

    Returns:
      A repetition code with B blocks, each of one unit. Any ``W // B - 1`` workers may
      be missing, whoever they are, and often more.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      None. :func:`jaxdist.recover` says what its messages cost.

    Example:
      >>> code = jaxdist.coding.repetition(num_workers=8, num_batches=4)
      >>> print(code.block_of_worker, code.threshold)
      [0 1 2 3 0 1 2 3] 7

    References:
      Li et al., `Near-Optimal Straggler Mitigation for Distributed Gradient Methods
      <https://arxiv.org/abs/1710.09990>`_, 2017, whose workers draw their batches: of
      eight workers and four batches 38 % of the draws leave a batch out.
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_batches = _checks.integer("num_batches", num_batches, 1, num_workers)
    return _code.Code(
        f"repetition({num_workers}, {num_batches})",
        _placement.one_block_each(np.arange(num_workers) % num_batches, num_batches),
        np.ones(num_batches, int),
        threshold=num_workers - num_workers // num_batches + 1,
    )
