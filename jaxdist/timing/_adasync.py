"""AdaSync: few gradients in an update at first, more as the loss falls.

How many are best follows from the bound on the error after some seconds: a small K
makes progress fast, a large one ends lower. K is a shape of the program, so training
has one compiled step for each, and chooses between them from one update to the next.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.timing import _clock, _protocol


class PaceState(NamedTuple):
    """What the choice of K depends on."""

    num_arrivals: jax.Array  # int32, shape (): K of the next update
    end: jax.Array  # float32, shape (): seconds at which the interval ends
    first_loss: jax.Array  # float32, shape (): of the first update
    total: jax.Array  # float32, shape (): sum of the losses of this interval
    number: jax.Array  # int32, shape (): updates of this interval


@dataclasses.dataclass(frozen=True, eq=False)
class Pace:
    """How K follows the loss."""

    make: Callable[[int], _protocol.Protocol]
    initial: int
    interval: float
    choices: tuple[int, ...] | None  # sorted; None for all from 1 to W

    def all_choices(self, num_workers: int) -> tuple[int, ...]:
        """Return every K that may come up, sorted."""
        return self.choices or tuple(range(1, num_workers + 1))

    def start(self) -> PaceState:
        """Return the state before the first update."""
        zero = jnp.zeros((), jnp.float32)
        return PaceState(
            jnp.asarray(self.initial, jnp.int32),
            jnp.asarray(self.interval, jnp.float32),
            zero,
            zero,
            jnp.zeros((), jnp.int32),
        )

    def follow(
        self, state: PaceState, clock: _clock.Clock, loss: jax.Array, num_workers: int
    ) -> PaceState:
        """Return the state after an update with this loss, the mean of its K."""
        loss = loss.astype(jnp.float32)
        first = jnp.where(clock.updates == 1, loss, state.first_loss)
        total, number = state.total + loss, state.number + 1
        wanted = self._arrivals_for(
            first, total / number.astype(total.dtype), num_workers
        )
        usable = jnp.isfinite(first) & jnp.isfinite(total) & (total > 0)
        is_over = clock.time >= state.end
        wanted = jnp.where(usable, wanted, 1).astype(jnp.int32)
        chosen = jnp.where(is_over & usable, wanted, state.num_arrivals)
        past = jnp.floor(clock.time / self.interval) + 1
        return PaceState(
            chosen,
            jnp.where(is_over, past * self.interval, state.end),
            first,
            jnp.where(is_over, 0, total),
            jnp.where(is_over, 0, number),
        )

    def _arrivals_for(self, first, loss, num_workers):
        """Return K for a loss, by the rule for this kind of protocol."""
        ratio = first / loss
        repeats = self.make(2).repeats
        if repeats:
            wanted = self.initial * jnp.sqrt(ratio)
        else:
            started = self.initial**2 / max(num_workers - self.initial, 1e-6)
            s = started * ratio
            # (-s + sqrt(s^2 + 4 s W)) / 2 without the difference of large numbers
            wanted = 2 * num_workers / (1 + jnp.sqrt(1 + 4 * num_workers / s))
        choices = jnp.asarray(self.all_choices(num_workers), jnp.float32)
        # What rounding adds to a whole number must not make it the next one.
        place = jnp.sum(choices < wanted * (1 - 1e-6))
        return choices[jnp.minimum(place, choices.size - 1)]


def adasync(
    protocol: Callable[[int], _protocol.Protocol],
    initial: int,
    interval: float,
    choices: Sequence[int] | None = None,
) -> _protocol.Protocol:
    r"""Let K grow as the loss falls: fast progress first, a low error in the end.

    .. math:: K_t = K_0 \sqrt{\frac{F_0}{F_t}} \quad\text{(batch protocols)}, \qquad
       \frac{K_t^2}{W - K_t} = \frac{K_0^2}{W - K_0} \cdot \frac{F_0}{F_t}
       \quad\text{(k\_sync, k\_async)}

    :math:`F_t` is the mean training loss of the interval that has ended, as it is, with
    no best value subtracted; :math:`F_0` the loss of the first update. K is rounded up
    to the next of ``choices``.

    Args:
      protocol: :func:`k_sync`, :func:`k_async`, :func:`k_batch_sync` or
        :func:`k_batch_async`, not yet called.
      initial: :math:`K_0`, at least 1; for :func:`k_sync` and :func:`k_async` at most
        W.
      interval: Seconds between two choices of K, above 0.
      choices: Values of K, among them ``initial``; None for all from 1 to W. Few of
        them save compilations, and a rule that needs three workers needs no fewer here.

    Returns:
      A protocol for :func:`jaxdist.simulate_async`, which compiles one step for every K
      that comes up.

    Raises:
      TypeError: If ``protocol`` is no function.
      ValueError: If an argument is out of range, or ``protocol`` makes no protocol with
        a K, or ``choices`` do not hold ``initial``.

    Communication:
      None.

    Example:
      >>> def loss(params, batch):
      ...     return jnp.mean((params - batch) ** 2)
      >>> timing = jaxdist.timing
      >>> protocol = timing.adasync(timing.k_async, initial=1, interval=5.0)
      >>> tx = optax.chain(jaxdist.aggregate("worker"), optax.sgd(0.05))
      >>> law = timing.exponential()
      >>> init, step = jaxdist.simulate_async(
      ...     loss, tx, 8, "worker", protocol=protocol, compute_time=law
      ... )
      >>> state = init(jnp.full((), 9.0))
      >>> while state.clock.time < 30.0:
      ...     state, metrics = step(state, jnp.zeros(8))
      >>> print(metrics["worker"].size)
      8

    References:
      Dutta, Wang, Joshi, `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/2003.10579>`_, 2021, AdaSync. The quadratic rule is for
      exponential and shifted exponential times.
    """
    _checks.function("protocol", protocol, "such as jaxdist.timing.k_async")
    initial = _checks.integer("initial", initial, 1)
    chosen = _checked_choices(choices, initial)
    interval = float(_checks.real("interval", interval, 0.0, above=True, static=True))
    first = protocol(initial)
    _protocol.check_protocol(first)
    if first.num_arrivals != initial or first.pace is not None:
        raise ValueError(
            "`protocol` must be one that takes K, such as jaxdist.timing.k_async, got "
            f"{first.name}."
        )
    pace = Pace(protocol, initial, interval, chosen)
    kind = first.name.split("(")[0]
    return dataclasses.replace(
        first,
        name=f"adasync({kind}, {initial}, {interval:g})",
        step_time=lambda law, num_workers: None,
        staleness=lambda num_workers: None,
        pace=pace,
    )


def _checked_choices(choices, initial):
    """Return the choices in order, or None; raise unless the first K is one of them."""
    if choices is None:
        return None
    is_sequence = isinstance(choices, Sequence) and not isinstance(choices, str)
    if not is_sequence or not choices:
        raise ValueError(
            f"`choices` must be numbers of mini-batches such as (2, 4, 8), got "
            f"{choices!r}."
        )
    numbers = {_checks.integer("choices", number, 1) for number in choices}
    if initial not in numbers:
        raise ValueError(
            f"`choices` must hold `initial`, {initial}, got {sorted(numbers)}."
        )
    return tuple(sorted(numbers))
