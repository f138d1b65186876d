"""EF21: send the error of the receivers' estimate of this worker's gradient."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor, _feedback, _per_leaf


class Ef21State(NamedTuple):
    """State of :func:`ef21`; the arrays are float32 or wider and vary over workers."""

    count: jax.Array  # int32, shape (); steps whose momentum was finite
    estimate: jax.Array  # shape of the leaf; what all receivers believe
    momentum: Any  # shape of the leaf; () without momentum
    inner_state: _compressor.CompressorState  # of the wrapped compressor


def ef21(
    compressor: _compressor.Compressor, momentum: float | None = None
) -> _compressor.Compressor:
    r"""Compress the change of the gradient, which sender and receivers add up.

    .. math:: v_t = \beta v_{t-1} + (1-\beta) g_t, \quad
       c_t = C(v_t - h_{t-1}), \quad h_t = h_{t-1} + c_t

    The receivers aggregate :math:`h_t`, a dense estimate. Even with top-k the estimates
    then have the same coordinates on all workers, so that robust rules can compare
    them. :math:`h` starts at zero and :math:`v` at the first gradient.

    Args:
      compressor: :math:`C`, a contraction.
      momentum: :math:`\beta` in [0, 1), no unit; None or 0 is EF21 without momentum.

    Returns:
      A compressor whose receivers remember estimates. For :func:`jaxdist.rules.mean`
      they remember the mean of the estimates, for other rules one estimate for each
      worker. On the route scatter a worker remembers only its own part of them. Where a
      gradient is not finite nothing is sent, and receivers keep the last estimate; of a
      ``compressor`` that does not keep zeros, such as :func:`scaled_sign`, that of the
      whole block.

    Raises:
      ValueError: If ``momentum`` is outside [0, 1) or ``compressor`` is no
        contraction: at once when this is so for large leaves, otherwise when a leaf is
        seen for which it is so.

    Communication:
      That of ``compressor``.

    Example:
      >>> tx = jaxdist.compress(
      ...     jaxdist.compression.ef21(jaxdist.compression.top_k(density=0.5))
      ... )
      >>> gradient = jnp.array([3.0, 1.0])
      >>> state = tx.init(gradient)
      >>> for _ in range(2):
      ...     seen, state = tx.update(gradient, state)
      ...     print(seen)
      [3. 0.]
      [3. 1.]

    References:
      Richtárik et al., `EF21: A New, Simpler, Theoretically Better, and Practically
      Faster Error Feedback <https://arxiv.org/abs/2106.05203>`_, 2021; Fatkhullin et
      al., `Momentum Provably Improves Error Feedback!
      <https://arxiv.org/abs/2305.15155>`_, 2023.
    """
    _per_leaf.check_compressor("compressor", compressor)
    _feedback.check_single("ef21", compressor)
    if momentum is not None:
        momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True)
    _feedback.check_contraction(compressor, _feedback.LARGE)

    def init(leaf):
        zeros = _tree.wide_zeros(leaf)
        velocity = () if momentum is None else zeros
        return Ef21State(
            jnp.zeros((), jnp.int32), zeros, velocity, compressor.init(leaf)
        )

    def smooth(leaf, state):
        """Return the momentum; without it, the gradient itself."""
        if momentum is None:
            return leaf
        mixed = momentum * state.momentum + (1 - momentum) * leaf
        return jnp.where(state.count == 0, leaf, mixed)

    def encode(leaf, state, keys, blocks):
        _feedback.check_contraction(compressor, _tree.block_size(leaf.size, blocks))
        estimate = state.estimate
        wanted = smooth(leaf.astype(estimate.dtype), state)
        finite = jnp.isfinite(wanted)
        # Of a change of 0 some still send something: their blocks stay what they are.
        nothing = 0.0 if compressor.contract.keeps_zeros else jnp.nan
        change = jnp.where(finite, wanted - estimate, nothing).astype(leaf.dtype)
        payload, inner_state = compressor.encode(
            change, state.inner_state, keys, blocks
        )
        seen = compressor.decode(payload, _tree.like_leaf(estimate), keys)
        estimate = _tree.add_finite(estimate, seen)
        kept = ()
        if momentum is not None:
            kept = jnp.where(finite, wanted, state.momentum)
        count = _tree.next_count(state.count)
        return payload, Ef21State(count, estimate, kept, inner_state)

    contract = dataclasses.replace(compressor.contract, unbiased=False, aligned=True)
    suffix = "" if momentum is None else f", momentum={momentum}"
    return compressor._replace(
        init=init,
        encode=encode,
        contract=contract,
        name=f"ef21({compressor.name}{suffix})",
        incremental=True,
        dialogue=None,
        absent=_feedback.absent_inside(compressor),
        remembers=True,
    )
