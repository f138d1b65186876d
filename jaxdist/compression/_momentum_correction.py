"""Momentum correction: accumulate momentum, and send its largest part."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor, _feedback, _per_leaf


class MomentumCorrectionState(NamedTuple):
    """State of :func:`momentum_correction`; float32 or wider, varies over workers."""

    momentum: jax.Array  # shape of the leaf
    residual: jax.Array  # shape of the leaf; the momentum that was not sent yet
    inner_state: _compressor.CompressorState  # of the wrapped compressor


def momentum_correction(
    compressor: _compressor.Compressor, momentum: float = 0.9, *, masking: bool = True
) -> _compressor.Compressor:
    r"""Accumulate momentum instead of gradients, and compress what was not sent.

    .. math:: m_t = \mu m_{t-1} + g_t, \quad v_t = v_{t-1} + m_t, \quad u_t = C(v_t)

    then :math:`v_t \leftarrow v_t - u_t`, and with masking :math:`m_t \leftarrow 0`
    where :math:`u_t \ne 0`, so that stale momentum does not carry delayed elements too
    far. The optimizer that follows needs no momentum of its own.

    Args:
      compressor: :math:`C`, meant to be a sparsifier.
      momentum: :math:`\mu` in [0, 1), no unit.
      masking: Momentum factor masking. A compressor that sends all coordinates, such
        as scaled_sign, would clear all momentum at every step: turn it off there.

    Returns:
      A compressor with the payload of ``compressor``. Where a gradient is not finite
      the memory keeps its value.

    Raises:
      ValueError: If ``momentum`` is outside [0, 1), or if ``compressor`` is no
        contraction.

    Communication:
      That of ``compressor``.

    Example:
      >>> c = jaxdist.compression.momentum_correction(
      ...     jaxdist.compression.top_k(density=0.5), momentum=0.5
      ... )
      >>> sent, state = jaxdist.roundtrip(c, jnp.array([3.0, 1.0]))
      >>> print(sent, state.residual, state.momentum)
      [3. 0.] [0. 1.] [0. 1.]

    References:
      Lin et al., `Deep Gradient Compression
      <https://arxiv.org/abs/1712.01887>`_, 2018, Section 3.1 and Appendix B. There
      values travel as they are, so exactly what was sent is subtracted.
    """
    _per_leaf.check_compressor("compressor", compressor)
    _feedback.check_single("momentum_correction", compressor)
    momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True)
    _checks.flag("masking", masking)
    _feedback.check_contraction(compressor, _feedback.LARGE)

    def init(leaf):
        zeros = _tree.wide_zeros(leaf)
        return MomentumCorrectionState(zeros, zeros, compressor.init(leaf))

    def encode(leaf, state, keys, blocks):
        _feedback.check_contraction(compressor, _tree.block_size(leaf.size, blocks))
        moved = momentum * state.momentum + leaf.astype(state.momentum.dtype)
        wanted = state.residual + moved
        payload, inner_state = compressor.encode(
            wanted.astype(leaf.dtype), state.inner_state, keys, blocks
        )
        sent = compressor.decode(payload, _tree.like_leaf(wanted), keys)
        cleared = jnp.where(sent != 0, 0, moved) if masking else moved
        finite = jnp.isfinite(wanted - sent)
        return payload, MomentumCorrectionState(
            jnp.where(finite, cleared, state.momentum),
            jnp.where(finite, wanted - sent, state.residual),
            inner_state,
        )

    return compressor._replace(
        init=init,
        encode=encode,
        contract=dataclasses.replace(compressor.contract, unbiased=False),
        name=f"momentum_correction({compressor.name}, {momentum})",
        dialogue=None,
        absent=_feedback.absent_inside(compressor),
        remembers=True,
    )
