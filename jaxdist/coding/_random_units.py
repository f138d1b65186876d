"""Random units: fast workers draw many units, slow workers few."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _coupons, _placement


def random_units(
    loads: Sequence[int] | np.ndarray,
    num_units: int,
    key: int | jax.Array = 0,
    must_cover: bool = True,
) -> _code.Code:
    r"""Let each worker draw as many different units as it can carry.

    For workers of different speed, with loads from :func:`optimal_loads`. Units overlap
    in any way, so workers send the gradient of each unit by itself, and the server is
    done as soon as it has every unit.

    Args:
      loads: Units of each worker, integers ``[W]`` in [1, m].
      num_units: :math:`m`, units of data, at least 1.
      key: Seed or key of the placement, which is drawn once.
      must_cover: Refuse a placement in which no worker holds some unit. Even of loads
        :math:`m \log m` in sum, about half of all placements leave a unit out.

    Returns:
      A repetition code whose blocks are single units.

    Raises:
      ValueError: If an argument is out of range, or if the placement does not cover
        every unit and must.

    Communication:
      Simulated. A worker of load r sends r gradients: :math:`4 r d` bytes for
      :math:`d` float32 parameters. This pays only where messages cost little.

    Example:
      >>> code = jaxdist.coding.random_units([2, 6, 6, 6], num_units=8)
      >>> print(code.num_blocks, code.num_messages)
      8 [2 6 6 6]

    References:
      Li et al., `Near-Optimal Straggler Mitigation for Distributed Gradient Methods
      <https://arxiv.org/abs/1710.09990>`_, 2017, the scheme for heterogeneous workers.
    """
    num_units = _checks.integer("num_units", num_units, 1)
    counts = _placement.worker_loads(loads, num_units)
    _checks.flag("must_cover", must_cover)
    shape = (len(counts), num_units)
    uniform = _placement.drawn_uniforms(key, "random_units", shape)
    ranks = np.argsort(np.argsort(uniform, axis=1, kind="stable"), axis=1)
    code = _code.Code(
        f"random_units({len(counts)} loads up to {counts.max()}, {num_units})",
        ranks < counts[:, None],
        np.ones(num_units, int),
    )
    return _placement.covering_code(
        code,
        key,
        must_cover,
        lambda: _coupons.cover_probability(len(counts), num_units, counts),
        "larger `loads`",
    )
