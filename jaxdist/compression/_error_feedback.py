"""Error feedback: remember what a lossy compressor dropped, and send it later."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _leafwise, _tree, _types

_LARGE = 2**20  # elements: what fails for a leaf of this size is refused at once


class ErrorFeedbackState(NamedTuple):
    """State of :func:`error_feedback`."""

    residual: jax.Array  # shape of the leaf, float32 or wider; varies over workers
    inner_state: _types.CompressorState  # of the wrapped compressor


def error_feedback(
    compressor: _types.Compressor, decay: float = 1.0
) -> _types.Compressor:
    r"""Add what was dropped before to the leaf, then compress the sum.

    .. math:: p_t = g_t + \beta e_t, \quad u_t = C(p_t), \quad e_{t+1} = p_t - u_t

    Where :math:`p_t - u_t` is not finite the residual stays what it was: a single NaN
    gradient does not poison the memory.

    Args:
      compressor: :math:`C`, the compressor whose loss is remembered.
      decay: :math:`\beta` in [0, 1], no unit; 1 is the paper, 0 forgets at once.

    Returns:
      A compressor with the payload of ``compressor``. It is biased at every step;
      what it sends over time sums to what it was given.

    Raises:
      ValueError: If ``decay`` is outside [0, 1], or if ``compressor`` is no
        contraction, so that the residual would grow without bound: at once when this
        is so for large leaves, otherwise when a leaf is seen for which it is so.

    Communication:
      That of ``compressor``.

    Example:
      >>> c = jaxdist.error_feedback(jaxdist.top_k(density=0.5))
      >>> sent, state = jaxdist.roundtrip(c, jnp.array([3.0, 1.0]))
      >>> print(sent, state.residual)
      [3. 0.] [0. 1.]

    References:
      Karimireddy et al., `Error Feedback Fixes SignSGD and other Gradient Compression
      Schemes <https://arxiv.org/abs/1901.09847>`_, 2019, Algorithm 2. The paper keeps
      the step size inside :math:`p_t`; chain after ``optax.scale_by_learning_rate``
      to match it.
    """
    _leafwise.check("compressor", compressor)
    _checks.real("decay", decay, 0.0, 1.0)
    _check_contraction(compressor, _LARGE)

    def init(leaf):
        dtype = _tree.accumulator_dtype(leaf.dtype)
        residual = jnp.zeros_like(leaf, dtype=dtype)
        return ErrorFeedbackState(residual, compressor.init(leaf))

    def encode(leaf, state, keys, blocks):
        residual = state.residual
        _check_contraction(compressor, _tree.block_size(leaf.size, blocks))
        wanted = leaf.astype(residual.dtype) + decay * residual
        # What travels has the dtype of the leaf; the residual keeps the rounding.
        payload, inner_state = compressor.encode(
            wanted.astype(leaf.dtype), state.inner_state, keys, blocks
        )
        dropped = wanted - compressor.decode(payload, _tree.like(wanted), keys)
        kept = jnp.where(jnp.isfinite(dropped), dropped, residual)
        return payload, ErrorFeedbackState(kept, inner_state)

    return compressor._replace(
        init=init,
        encode=encode,
        contract=dataclasses.replace(compressor.contract, unbiased=False),
        name=f"error_feedback({compressor.name})",
    )


def _check_contraction(compressor: _types.Compressor, size: int) -> None:
    """Raise unless the compressor contracts blocks of this many elements."""
    contraction = compressor.contract.contraction(size)
    if size and not contraction > 0:
        raise ValueError(
            f"`compressor` {compressor.name} is no contraction for blocks of {size} "
            f"elements (its delta is {contraction:.3g}, and must be positive), so the "
            "residual of error feedback would grow without bound. "
            + _way_out(compressor, size)
        )


def _way_out(compressor: _types.Compressor, size: int) -> str:
    """Say what to use instead."""
    contract = compressor.contract
    if contract.unbiased and contract.variance(size) < float("inf"):
        return f"Use error_feedback(contractive({compressor.name}))."
    return "Use a compressor with a contraction, such as top_k or scaled_sign."
