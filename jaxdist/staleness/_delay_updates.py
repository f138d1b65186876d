"""Delay: updates that come out some steps after they went in."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random, _tree
from jaxdist.staleness import _lateness


class DelayUpdatesState(NamedTuple):
    """State of :func:`delay_updates`."""

    count: jax.Array  # int32, shape ()
    key: _random.Stream | tuple[()]  # () where the delay is not drawn
    history: Any  # like the updates with a last axis of the longest delay, in steps


class DelayInnerState(NamedTuple):
    """State of :func:`delay_updates` with an ``inner``."""

    delayed: DelayUpdatesState  # the history holds pairs of updates and parameters
    inner_state: Any  # state of the wrapped transformation


def delay_updates(
    delay: int | Sequence[float],
    warm_up: Literal["zeros", "oldest"] = "zeros",
    key: int | jax.Array = 0,
    inner: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let updates come out ``delay`` optimizer steps later.

    .. math:: u_t = g_{t - \tau_t}, \qquad 0 \le \tau_t \le \tau_{\max}

    A gradient from :math:`\tau` steps ago was computed on the parameters of
    :math:`\tau` steps ago: this simulates staleness. Wrap it where workers
    are to be late independently, and always where the updates differ between workers:
    ``per_worker("data", delay_updates(...))``.

    Late gradients want smaller steps, and with momentum much smaller ones. The largest
    product of learning rate and curvature with which ``optax.sgd`` behind is stable:

    ===========  ======  ======  ======  ======  ======
    momentum     0 late       1       2       5      10
    ===========  ======  ======  ======  ======  ======
    0                 2       1   0.618  0.2846  0.1495
    0.5               3     0.5  0.2808  0.1286  0.0696
    0.9             3.8     0.1  0.0512  0.0215  0.0114
    ===========  ======  ======  ======  ======  ======

    ``jaxdist.sgmcmc.largest_learning_rate`` computes it for others.

    Args:
      delay: :math:`\tau` in optimizer steps, or the probabilities
        :math:`(p_0, \dots, p_{\tau_{\max}})` from which it is drawn at every step. A
        drawn delay may bring the same update twice and another never.
      warm_up: What comes out in the first steps, when no update is due yet:
        ``"zeros"``, or ``"oldest"`` for the oldest update there is.
      key: Seed or key of the drawn delays.
      inner: What takes the delayed updates and asks how late they are, such as
        :func:`scale_by_staleness` or :func:`limit_step_by_distance`. It gets
        ``staleness=``, the delay, and ``stale_params=``, the parameters of the step in
        which the updates came in, so that parameters are remembered too. In the first
        steps these are the oldest there are, also where ``warm_up`` makes the updates
        zeros: ``inner`` takes those as any other updates.

    Returns:
      A transformation that keeps structure, shapes and dtypes. Delay 0 is the
      identity, or ``inner`` with what is fresh.

    Raises:
      ValueError: If ``delay`` is negative, if the probabilities are negative or do not
        sum to 1, or if ``warm_up`` is unknown; in ``update``, if there is an ``inner``
        and ``params`` is missing.
      TypeError: If ``inner`` is no transformation.

    Shapes:
      history: ``[*shape, longest delay]`` for updates, and for parameters where there
        is an ``inner``, of ``[*shape]``.

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
    _random.check_key(key)
    if inner is not None:
        _checks.optimizer("inner", inner)
        inner = optax.with_extra_args_support(inner)
    is_fixed = probabilities[-1] == 1
    stream = _random.stream_if(not is_fixed, key, "delay_updates")
    line = _DelayLine(probabilities, stream, warm_up)
    if line.longest == 0:
        return _without_delay(inner)
    return _delay_alone(line) if inner is None else _delay_before(line, inner)


class _Late(NamedTuple):
    """What came in some steps ago."""

    past: Any
    steps: jax.Array  # how long ago, int32, shape ()
    is_due: jax.Array  # whether it may come out now, bool, shape ()


class _DelayLine(NamedTuple):
    """What goes in comes out later."""

    probabilities: tuple[float, ...]  # of each delay from 0 to the longest
    stream: _random.Stream | tuple[()]
    warm_up: str

    @property
    def longest(self) -> int:
        """The longest delay, in steps."""
        return len(self.probabilities) - 1

    def start(self, tree: Any) -> DelayUpdatesState:
        """Return the state before the first step, with the steps as last axis."""
        history = jax.tree.map(
            lambda leaf: jnp.zeros_like(leaf, shape=(*leaf.shape, self.longest)), tree
        )
        return DelayUpdatesState(jnp.zeros((), jnp.int32), self.stream, history)

    def draw_delay(self, state: Any) -> jax.Array:
        """Return the delay of this step."""
        if self.stream == ():
            return jnp.asarray(self.longest, jnp.int32)
        uniform = jax.random.uniform(_random.step_key(state.key, state.count))
        edges = jnp.cumsum(jnp.asarray(self.probabilities[:-1], uniform.dtype))
        return jnp.sum(uniform >= edges, dtype=jnp.int32)

    def come_out(self, newest: Any, state: DelayUpdatesState) -> _Late:
        """Return what comes out of the line, which may be what goes in now."""
        wanted = self.draw_delay(state)
        late = jnp.minimum(wanted, state.count)
        is_due = late == wanted if self.warm_up == "zeros" else jnp.asarray(True)
        slot = (state.count - late) % self.longest

        past = _read_slot(state.history, slot, newest)
        past = jax.tree.map(
            lambda new, old: jnp.where(late == 0, new, old), newest, past
        )
        return _Late(past, late, is_due)

    def due_updates(self, newest: Any, state: DelayUpdatesState) -> Any:
        """Return the updates that are due, or zeros.

        Where the delay is fixed they never depend on what goes in now. So what is sent
        late can travel before the new is there.
        """
        if self.stream != () or self.warm_up != "zeros":
            late = self.come_out(newest, state)
            return _due_or_zeros(late.is_due, late.past)
        # Zeros until the first is due.
        return _read_slot(state.history, state.count % self.longest, newest)

    def go_in(self, newest: Any, state: DelayUpdatesState) -> DelayUpdatesState:
        """Return the state that remembers what goes in, and forgets the oldest."""
        slot = state.count % self.longest

        def write(leaf, slots):
            column = leaf[..., None].astype(slots.dtype)
            return jax.lax.dynamic_update_slice_in_dim(slots, column, slot, -1)

        history = jax.tree.map(write, newest, state.history)
        return DelayUpdatesState(_tree.next_count(state.count), state.key, history)


def _read_slot(history, slot, like):
    """Return what went in at a slot, in the dtypes of the newest."""

    def read(leaf, slots):
        past = jax.lax.dynamic_index_in_dim(slots, slot, -1, keepdims=False)
        return past.astype(leaf.dtype)

    return jax.tree.map(read, like, history)


def _without_delay(
    inner: optax.GradientTransformationExtraArgs | None,
) -> optax.GradientTransformationExtraArgs:
    """Return the identity, or what handles fresh updates."""
    if inner is None:
        return optax.with_extra_args_support(optax.identity())
    fresh = jnp.zeros((), jnp.int32)

    def update(updates, state, params=None, **extra_args):
        extra_args |= {"staleness": fresh, "stale_params": params}
        return inner.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _delay_alone(line: _DelayLine) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that delays updates."""

    def init(params):
        _tree.check_arrays("params", params)
        return line.start(params)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, DelayUpdatesState, "delay_updates")
        _tree.check_arrays("updates", updates)
        return line.due_updates(updates, state), line.go_in(updates, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _delay_before(
    line: _DelayLine, inner: optax.GradientTransformationExtraArgs
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that delays updates, and the parameters with them."""

    def init(params):
        _tree.check_arrays("params", params)
        return DelayInnerState(line.start((params, params)), inner.init(params))

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, DelayInnerState, "delay_updates")
        _tree.check_arrays("updates", updates)
        _lateness.checked_stale_params("delay_updates with `inner`", params, params)
        pair = updates, params
        late = line.come_out(pair, state.delayed)
        delayed = line.go_in(pair, state.delayed)
        past, stale_params = late.past
        extra_args |= {"staleness": late.steps, "stale_params": stale_params}
        updates, inner_state = inner.update(
            _due_or_zeros(late.is_due, past), state.inner_state, params, **extra_args
        )
        return updates, DelayInnerState(delayed, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _due_or_zeros(is_due: jax.Array, updates: Any) -> Any:
    """Return the updates where they may come out, else zeros."""
    return jax.tree.map(
        lambda leaf: jnp.where(is_due, leaf, jnp.zeros_like(leaf)), updates
    )


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
