"""Placements: how units become blocks, and who draws which."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks, _random
from jaxdist.coding import _code


def even_sizes(num_units: int, num_blocks: int) -> np.ndarray:
    """Return sizes of blocks ``[B]`` that differ by at most one unit."""
    _checks.integer("num_units", num_units, num_blocks)
    return np.diff(np.arange(num_blocks + 1) * num_units // num_blocks)


def one_block_each(blocks: np.ndarray, num_blocks: int) -> np.ndarray:
    """Return the placement ``[W, B]`` of workers that hold one block each."""
    return blocks[:, None] == np.arange(num_blocks)


def drawn_uniforms(key: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return float64 numbers in [0, 1), the same for a key wherever they are drawn."""
    _random.check_key(key)
    with jax.ensure_compile_time_eval():  # a placement is a constant of its program
        named = _random.named_key(_random.as_key(key), name)
        bits = np.asarray(jax.random.bits(named, shape, jnp.uint32))
    return bits / 2.0**32


def worker_loads(loads: Any, num_units: int) -> np.ndarray:
    """Return the load of each worker, int ``[W]``, or raise."""
    try:
        array = np.asarray(loads)
    except (TypeError, ValueError):
        array = np.empty(0)
    is_row = array.ndim == 1 and array.size > 0 and array.dtype.kind in "iu"
    if not is_row or array.min() < 1 or array.max() > num_units:
        raise ValueError(
            f"`loads` must be one integer in [1, {num_units}] for each worker, "
            f"got {loads!r}."
        )
    return array.astype(int)


def covering_code(
    code: _code.Code,
    key: Any,
    must_cover: bool,
    likely: Callable[[], float],
    more: str,
) -> _code.Code:
    """Return the code, or raise if it should cover every block and does not.

    Args:
      code: What was drawn.
      key: From which it was drawn.
      must_cover: Whether it should cover.
      likely: The probability that it would.
      more: What makes this more likely, but for more workers.
    """
    if must_cover and not code.covers:
        held = int(code.placement.any(axis=0).sum())
        raise ValueError(
            f"`key` must draw a placement that covers all {code.num_blocks} blocks of "
            f"{code.name}, got {key!r}, which covers {held}. Placements of this size "
            f"cover with probability {likely():.3g}: try another key, more workers or "
            f"{more}, or allow it with must_cover=False."
        )
    return code
