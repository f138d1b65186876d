"""Uncoded: each worker has data of its own, and the server waits for all."""

import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _placement


def uncoded(num_workers: int, num_units: int) -> _code.Code:
    """Give each worker a block of its own: what codes are compared with.

    Args:
      num_workers: W, at least 1.
      num_units: Units of data, at least W. They are split as evenly as possible.

    Returns:
      A repetition code with W blocks, of which every worker is needed.

    Raises:
      ValueError: If an argument is out of range.

    Communication:
      Simulated. Each worker sends one gradient: :math:`4 d` bytes for :math:`d` float32
      parameters. The server waits for W of them.

    Example:
      >>> code = jaxdist.coding.uncoded(num_workers=3, num_units=10)
      >>> print(code.loads, code.threshold)
      [3 3 4] 3
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_units = _checks.integer("num_units", num_units, num_workers)
    return _code.Code(
        f"uncoded({num_workers}, {num_units})",
        np.eye(num_workers, dtype=bool),
        _placement.even_sizes(num_units, num_workers),
        threshold=num_workers,
    )
