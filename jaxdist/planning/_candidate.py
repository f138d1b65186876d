"""Candidate: an optimizer that may be used, and when its exchange may travel."""

import dataclasses

import optax

from jaxdist import _checks


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What a plan compares: what is sent, how often, and what goes on meanwhile.

    Args:
      tx: What is exchanged: the optimizer, or the ``outer`` one of local rounds.
      local_steps: Steps from one exchange to the next, at least 1.
      fragments: Parts that travel one after the other in a round of local steps, each
        a message of its own; at most ``local_steps``.
      overlap: Steps of computing from the start of an exchange to its use, as in the
        ``overlap`` of :func:`data_parallel`; 1 for :func:`delay_updates` by one step.
        Fractions are allowed.
      step_seconds: Seconds that a step of it computes, compression included; None for
        the ``step_seconds`` of the plan.

    Raises:
      TypeError: If ``tx`` is no optimizer.
      ValueError: If a number is out of range.
    """

    tx: optax.GradientTransformation
    local_steps: int = 1
    fragments: int = 1
    overlap: float = 0.0
    step_seconds: float | None = None

    def __post_init__(self):
        """Check the numbers."""
        _checks.optimizer("tx", self.tx)
        steps = _checks.integer("local_steps", self.local_steps, 1)
        _checks.integer("fragments", self.fragments, 1, steps)
        _checks.real("overlap", self.overlap, 0, static=True)
        if self.step_seconds is not None:
            _checks.real("step_seconds", self.step_seconds, 0, above=True, static=True)
