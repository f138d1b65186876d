"""Batched coupons: each worker draws one batch, the server collects all batches."""

import jax
import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _coupons, _placement


def batched_coupons(
    num_workers: int,
    num_units: int,
    load: int,
    key: int | jax.Array = 0,
    must_cover: bool = True,
) -> _code.Code:
    r"""Cut the data into batches of ``load`` units; each worker draws one.

    .. math:: B = \lceil m / r \rceil, \qquad b_i \sim \mathrm{Uniform}\{1, \dots, B\},
       \qquad \sum_{b=1}^B z_{i(b)}, \quad z_i = \sum_{u \in \text{batch } b_i} g_u

    The first message :math:`z_{i(b)}` of each batch counts, and the server is done as
    soon as it has one of each. Workers need not agree on who draws what. Where they
    can, :func:`fractional_repetition` places the same batches evenly, and is faster.

    Args:
      num_workers: W, at least 1.
      num_units: :math:`m`, units of data, at least 1.
      load: :math:`r`, units of a batch, in [1, m]. The last batch may be smaller.
      key: Seed or key of the placement, which is drawn once.
      must_cover: Refuse a placement in which no worker holds some batch.

    Returns:
      A repetition code with B blocks. On average the server needs
      :math:`B (1 + 1/2 + \dots + 1/B)` workers (:func:`expected_arrivals`) if there are
      enough of them.

    Raises:
      ValueError: If an argument is out of range, or if the placement does not cover
        every batch and must.

    Communication:
      Simulated. Each worker sends one gradient, :math:`4 d` bytes for :math:`d` float32
      parameters, and the index of its batch.

    Example:
      >>> code = jaxdist.coding.batched_coupons(50, num_units=50, load=10)
      >>> print(code.num_blocks, code.loads.max(), code.covers)
      5 10 True
      >>> print(round(jaxdist.coding.expected_arrivals(code.num_blocks), 2))
      11.42

    References:
      Li et al., `Near-Optimal Straggler Mitigation for Distributed Gradient Methods
      <https://arxiv.org/abs/1710.09990>`_, 2017. The paper fills the last batch with
      zeros; here it is smaller.
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_units = _checks.integer("num_units", num_units, 1)
    load = _checks.integer("load", load, 1, num_units)
    _checks.flag("must_cover", must_cover)
    num_blocks = -(-num_units // load)
    uniform = _placement.drawn_uniforms(key, "batched_coupons", (num_workers,))
    starts = load * np.arange(num_blocks)
    code = _code.Code(
        f"batched_coupons({num_workers}, {num_units}, {load})",
        _placement.one_block_each((uniform * num_blocks).astype(int), num_blocks),
        np.minimum(load, num_units - starts),
    )
    return _placement.covering_code(
        code,
        key,
        must_cover,
        lambda: _coupons.cover_probability(num_workers, num_blocks),
        "a larger `load`",
    )
