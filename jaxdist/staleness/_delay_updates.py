"""Delay: updates that come out some steps after they went in."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random, _tree


class DelayUpdatesState(NamedTuple):
    """State of :func:`delay_updates`."""

    count: jax.Array  # int32, shape ()
    key: _random.Stream | tuple[()]  # () where the delay is not drawn
    history: Any  # like the updates with a last axis of the longest delay, in steps


def delay_updates(
    delay: int | Sequence[float],
    warm_up: Literal["zeros", "oldest"] = "zeros",
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Let updates come out ``delay`` optimizer steps later.

    .. math:: u_t = g_{t - \tau_t}, \qquad 0 \le \tau_t \le \tau_{\max}

    A gradient from :math:`\tau` steps ago was computed on the parameters of
    :math:`\tau` steps ago: this simulates staleness. Wrap it where workers
    are to be late independently, and always where the updates differ between workers:
    ``per_worker("data", delay_updates(...))``.

    Args:
      delay: :math:`\tau` in optimizer steps, or the probabilities
        :math:`(p_0, \dots, p_{\tau_{\max}})` from which it is drawn at every step. A
        drawn delay may bring the same update twice and another never.
      warm_up: What comes out in the first steps, when no update is due yet:
        ``"zeros"``, or ``"oldest"`` for the oldest update there is.
      key: Seed or key of the drawn delays.

    Returns:
      A transformation that keeps structure, shapes and dtypes. Delay 0 is the
      identity.

    Raises:
      ValueError: If ``delay`` is negative, if the probabilities are negative or do not
        sum to 1, or if ``warm_up`` is unknown.

    Shapes:
      history: ``[*shape, longest delay]`` for updates ``[*shape]``.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.delay_updates(1)
      >>> state = tx.init(jnp.zeros(()))
      >>> for step in range(3):
      ...     updates, state = tx.update(jnp.array(1.0 + step), state)
      ...     print(updates)
      0.0
      1.0
      2.0

    References:
      Chen et al., `Stochastic Gradient MCMC with Stale Gradients
      <https://arxiv.org/abs/1610.06664>`_, 2016, for bounded staleness of this kind.
    """
    probabilities = _delay_probabilities(delay)
    _checks.one_of("warm_up", warm_up, ("zeros", "oldest"))
    longest = len(probabilities) - 1
    is_fixed = probabilities[longest] == 1
    _random.check_key(key)
    stream = () if is_fixed else _random.stream_of(key, "delay_updates")
    if longest == 0:
        return optax.with_extra_args_support(optax.identity())

    def init(params):
        _tree.check_arrays("params", params)
        history = jax.tree.map(
            lambda leaf: jnp.zeros_like(leaf, shape=(*leaf.shape, longest)), params
        )
        return DelayUpdatesState(jnp.zeros((), jnp.int32), stream, history)

    def draw(state):
        if is_fixed:
            return jnp.asarray(longest, jnp.int32)
        step = _random.step_key(state.key, state.count)
        uniform = jax.random.uniform(step)
        edges = jnp.cumsum(jnp.asarray(probabilities[:-1], uniform.dtype))
        return jnp.sum(uniform >= edges, dtype=jnp.int32)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, DelayUpdatesState, "delay_updates")
        _tree.check_arrays("updates", updates)
        wanted = draw(state)
        late = jnp.minimum(wanted, state.count)
        is_due = late == wanted if warm_up == "zeros" else jnp.asarray(True)
        due_slot = (state.count - late) % longest
        next_slot = state.count % longest

        def read(leaf, slots):
            past = jax.lax.dynamic_index_in_dim(slots, due_slot, -1, keepdims=False)
            out = jnp.where(late == 0, leaf, past.astype(leaf.dtype))
            return jnp.where(is_due, out, jnp.zeros_like(out))

        def write(leaf, slots):
            newest = leaf[..., None].astype(slots.dtype)
            return jax.lax.dynamic_update_slice_in_dim(slots, newest, next_slot, -1)

        return jax.tree.map(read, updates, state.history), DelayUpdatesState(
            _tree.next_count(state.count),
            state.key,
            jax.tree.map(write, updates, state.history),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _delay_probabilities(delay: int | Sequence[float]) -> tuple[float, ...]:
    """Return the probability of each delay from 0 to the longest possible."""
    if not isinstance(delay, Sequence):
        return (0.0,) * _checks.integer("delay", delay, 0) + (1.0,)
    probabilities: tuple[float, ...] = ()
    try:
        probabilities = tuple(float(p) for p in delay)
    except (TypeError, ValueError):
        pass  # what is no number sums to nothing
    if not all(p >= 0 for p in probabilities) or not math.isclose(
        sum(probabilities), 1.0, abs_tol=1e-6
    ):
        raise ValueError(
            "`delay` must be a number of steps or probabilities that are not negative "
            f"and sum to 1, got {delay!r}."
        )
    longest = max(steps for steps, p in enumerate(probabilities) if p)
    return probabilities[: longest + 1]
