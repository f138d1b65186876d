"""Checks that all memories share: which compressors they wrap, absent workers."""

from collections.abc import Callable
from typing import Any

from jaxdist.compression import _compressor, _per_leaf

LARGE = 2**20  # elements: what fails for a leaf of this size is refused at once


def check_single(wrapper: str, compressor: _compressor.Compressor) -> None:
    """Raise when the receivers remember already."""
    if compressor.incremental:
        raise ValueError(
            f"`compressor` {compressor.name} sends differences that its receivers add "
            f"up, so {wrapper} has nothing to remember. Use one of the two."
        )
    check_forgetful(wrapper, compressor)


def check_forgetful(wrapper: str, compressor: _compressor.Compressor) -> None:
    """Raise when the compressor remembers what it did not send: one memory is enough.

    Args:
      wrapper: What is put around the compressor, as errors call it.
      compressor: To be wrapped.
    """
    if compressor.remembers:
        raise ValueError(
            f"`compressor` {compressor.name} remembers already what it did not send, "
            f"which {wrapper} around it would lose or send twice. Use one memory, and "
            "put it outside of everything else: error_feedback(quantized(top_k(0.01), "
            "qsgd(8)))."
        )


def check_contraction(compressor: _compressor.Compressor, size: int) -> None:
    """Raise unless the compressor contracts blocks of this many elements."""
    contraction = compressor.contract.contraction(size)
    if size and not contraction > 0:
        raise ValueError(
            f"`compressor` {compressor.name} is no contraction for blocks of {size} "
            f"elements (its delta is {contraction:.3g}, and must be positive), so what "
            "it drops would add up without bound. " + _way_out(compressor, size)
        )


def absent_inside(compressor: _compressor.Compressor) -> Callable[..., Any]:
    """Return ``absent`` of a wrapper whose own memory stays as it is.

    Args:
      compressor: What is wrapped, whose state is the wrapper's ``inner_state``.
    """

    def absent(before, after, keys):
        inner_state = _per_leaf.state_while_absent(
            compressor, before.inner_state, after.inner_state, keys
        )
        return before._replace(inner_state=inner_state)

    return absent


def _way_out(compressor: _compressor.Compressor, size: int) -> str:
    """Say what to use instead."""
    contract = compressor.contract
    if contract.unbiased and contract.variance(size) < float("inf"):
        return f"Wrap contractive({compressor.name}) instead."
    return "Use a compressor with a contraction, such as top_k or scaled_sign."
