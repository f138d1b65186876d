"""Error feedback: remember what a lossy compressor dropped, and send it later."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor, _feedback, _per_leaf, _stored_residual


class ErrorFeedbackState(NamedTuple):
    """State of :func:`error_feedback`."""

    count: Any  # int32, shape (); () without learning_rate
    residual: Any  # shape of the leaf; float32 or wider, bfloat16 or int8; varies
    inner_state: _compressor.CompressorState  # of the wrapped compressor


def error_feedback(
    compressor: _compressor.Compressor,
    decay: float = 1.0,
    *,
    average: float = 1.0,
    keep: float = 0.0,
    residual_dtype: Literal["float32", "bfloat16", "int8"] | None = None,
    learning_rate: optax.Schedule | None = None,
) -> _compressor.Compressor:
    r"""Add what earlier steps dropped to the leaf, then compress the sum.

    .. math:: p_t = g_t + \beta \frac{\eta_{t-1}}{\eta_t} e_t, \quad u_t = C(p_t),
       \quad e_{t+1} = (1 - \alpha) e_t + \alpha (p_t - (1 - \mu) u_t)

    Where what would be kept is not finite the residual keeps its value, so a single NaN
    gradient does not spoil the memory.

    Args:
      compressor: :math:`C`, the compressor whose loss is remembered.
      decay: :math:`\beta` in [0, 1], no unit; 1 is the paper, 0 forgets at once. With
        a transform-domain compressor and 0.999 the residual is the momentum of DeMo.
      average: :math:`\alpha` in (0, 1], no unit; 1 is the paper. Less remembers a
        moving average of what was dropped, as in LoCo, so that single steps count less.
      keep: :math:`\mu` in [0, 1), no unit, the share of what was sent that stays; 0 is
        the paper. The residual is then also a momentum, as in Dion, and over time
        :math:`1/(1-\mu)` of what came is sent: scale the learning rate by
        :math:`1 - \mu`, or normalize what arrives.
      residual_dtype: ``"float32"``, ``"bfloat16"`` or ``"int8"`` with one scale for
        each row along the last axis: 4, 2 or 1 bytes per element. Narrow residuals are
        rounded at random without bias. None is the dtype of the leaf, float32 at least.
      learning_rate: :math:`\eta`, the schedule that later scales the updates. The
        papers keep the step size inside :math:`p_t`; rescaling gives the same
        iterates. None is a constant step size. Where :math:`\eta_t` is zero the
        residual is not rescaled.

    Returns:
      A compressor with the payload of ``compressor``. It is biased at every step, but
      over time the sum of what it sends follows the sum of what it was given.

    Raises:
      ValueError: If ``decay`` is outside [0, 1], ``average`` outside (0, 1], ``keep``
        outside [0, 1) or ``residual_dtype`` unknown; or if ``compressor`` is no
        contraction, so that the residual would grow without bound: at once when this is
        so for large leaves, otherwise when a leaf is seen for which it is so.

    Communication:
      That of ``compressor``.

    Example:
      >>> c = jaxdist.compression.error_feedback(jaxdist.compression.top_k(density=0.5))
      >>> sent, state = jaxdist.roundtrip(c, jnp.array([3.0, 1.0]))
      >>> print(sent, state.residual)
      [3. 0.] [0. 1.]

    References:
      Karimireddy et al., `Error Feedback Fixes SignSGD and other Gradient Compression
      Schemes <https://arxiv.org/abs/1901.09847>`_, 2019, Algorithm 2. Peng et al.,
      `DeMo: Decoupled Momentum Optimization <https://arxiv.org/abs/2411.19870>`_, 2024.
      Xie et al., `LoCo: Low-Bit Communication Adaptor for Large-scale Model Training
      <https://arxiv.org/abs/2407.04480>`_, 2024, for ``average``; without its resets.
      Ahn et al., `Dion: Distributed Orthonormalized Updates
      <https://arxiv.org/abs/2504.05295>`_, 2025, for ``keep``.
    """
    _per_leaf.check_compressor("compressor", compressor)
    _feedback.check_single("error_feedback", compressor)
    decay = _checks.real("decay", decay, 0.0, 1.0)
    average = _checks.real("average", average, 0.0, 1.0, above=True)
    keep = _checks.real("keep", keep, 0.0, 1.0, below=True)
    _checks.one_of("residual_dtype", residual_dtype, _stored_residual.DTYPES)
    if learning_rate is not None:
        _checks.function("learning_rate", learning_rate, "of the step, a schedule")
    _feedback.check_contraction(compressor, _feedback.LARGE)

    memory = _Memory(decay, average, keep, residual_dtype, learning_rate)

    def init(leaf):
        return memory.init_state(leaf, compressor.init(leaf))

    def encode(leaf, state, keys, blocks):
        _feedback.check_contraction(compressor, _tree.block_size(leaf.size, blocks))
        wanted, residual = memory.wanted_of(leaf, state)
        # What travels has the dtype of the leaf; the residual keeps the rounding.
        payload, inner_state = compressor.encode(
            wanted.astype(leaf.dtype), state.inner_state, keys, blocks
        )
        sent = compressor.decode(payload, _tree.like_leaf(wanted), keys)
        dropped = memory.left_of(wanted, sent)
        return payload, memory.remember(dropped, residual, state, inner_state, keys)

    def absent(before, after, keys):
        inner_state = _per_leaf.state_while_absent(
            compressor, before.inner_state, after.inner_state, keys
        )
        return memory.owe_still(before._replace(inner_state=inner_state), keys)

    dialogue = compressor.dialogue and _with_memory(compressor.dialogue, memory)
    suffix = "" if average == 1 else f", average={average}"
    suffix += "" if keep == 0 else f", keep={keep}"
    suffix += "" if residual_dtype is None else f", residual_dtype={residual_dtype!r}"
    rounds_at_random = residual_dtype in _stored_residual.ROUNDED_AT_RANDOM
    return compressor._replace(
        init=init,
        encode=encode,
        contract=dataclasses.replace(
            compressor.contract,
            unbiased=False,
            stochastic=compressor.contract.stochastic or rounds_at_random,
        ),
        name=f"error_feedback({compressor.name}{suffix})",
        dialogue=dialogue,
        absent=absent,
        remembers=True,
    )


_STORE = 0x5E  # folded into the sender's key for what only the sender draws


class _Memory(NamedTuple):
    """How what was dropped is kept, and comes back."""

    decay: float
    average: float
    keep: float
    residual_dtype: str | None
    learning_rate: optax.Schedule | None

    def init_state(self, leaf, inner_state):
        """Return the state in which nothing is owed."""
        dtype = self.residual_dtype or _tree.accumulator_dtype(leaf.dtype)
        count = () if self.learning_rate is None else jnp.zeros((), jnp.int32)
        residual = _stored_residual.zero_residual(leaf, dtype)
        return ErrorFeedbackState(count, residual, inner_state)

    def wanted_of(self, leaf, state):
        """Return the leaf and what is still owed, and the latter alone."""
        dtype = _tree.accumulator_dtype(leaf.dtype)
        factor = self.decay * self._rescaling(state.count)
        residual = _stored_residual.load_residual(state.residual, dtype)
        return leaf.astype(dtype) + jnp.asarray(factor, dtype) * residual, residual

    def left_of(self, wanted, sent):
        """Return what is still owed after this was sent, and what is kept of it."""
        return wanted - (sent if self.keep == 0 else (1 - self.keep) * sent)

    def remember(self, dropped, residual, state, inner_state, keys):
        """Return the state after a step in which this much was dropped."""
        if self.average != 1:
            dropped = (1 - self.average) * residual + self.average * dropped
        kept = jnp.where(jnp.isfinite(dropped), dropped, residual)
        count = () if self.learning_rate is None else _tree.next_count(state.count)
        return ErrorFeedbackState(count, self._stored(kept, keys), inner_state)

    def owe_still(self, state, keys):
        """Return the state after a step without this worker.

        What is owed is owed in units of the next step size.
        """
        if self.learning_rate is None:
            return state
        dtype = _tree.accumulator_dtype(jax.tree.leaves(state.residual)[-1].dtype)
        factor = jnp.asarray(self._rescaling(state.count), dtype)
        residual = factor * _stored_residual.load_residual(state.residual, dtype)
        count = _tree.next_count(state.count)
        return state._replace(count=count, residual=self._stored(residual, keys))

    def _stored(self, residual, keys):
        """Return the residual as it is kept."""
        dtype, key = self.residual_dtype, None
        if dtype in _stored_residual.ROUNDED_AT_RANDOM:
            key = jax.random.fold_in(keys.own, _STORE)
        return _stored_residual.store_residual(residual, dtype, key)

    def _rescaling(self, count):
        """Return the ratio of the last step size to this one."""
        if self.learning_rate is None:
            return 1.0
        now = jnp.asarray(self.learning_rate(count), jnp.float32)
        before = self.learning_rate(jnp.maximum(count - 1, 0))
        before = jnp.asarray(before, jnp.float32)
        return jnp.where(now == 0, 1.0, before / jnp.where(now == 0, 1.0, now))


def _with_memory(
    dialogue: _compressor.Dialogue, memory: _Memory
) -> _compressor.Dialogue:
    """Return the dialogue about what is wanted, which remembers what is not said."""

    def about_wanted(ask):
        def ask_for_all(leaf, state, keys, means):
            wanted = memory.wanted_of(leaf, state)[0].astype(leaf.dtype)
            return ask(wanted, state.inner_state, keys, means)

        return ask_for_all

    def finish(leaf, state, keys, means):
        wanted, residual = memory.wanted_of(leaf, state)
        mean, inner_state = dialogue.finish(
            wanted.astype(leaf.dtype), state.inner_state, keys, means
        )
        dropped = memory.left_of(wanted, mean.astype(wanted.dtype))
        return mean, memory.remember(dropped, residual, state, inner_state, keys)

    return _compressor.Dialogue(tuple(map(about_wanted, dialogue.rounds)), finish)
