"""Plan: what a step will take on a network, before it is booked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import optax

from jaxdist import _checks
from jaxdist.aggregation import _communication_report, _report_table
from jaxdist.planning import _candidate, _link, _planned_step

_HEADER = ("candidate", "sent", "step", "waiting", "95 % busy at", "worth it below")
_NUMBERS = 5  # columns that are aligned to the right
_ONLY = "tx"  # the name of a candidate that got none


class Plan(NamedTuple):
    """How long a step of each candidate takes, the shortest first; print for a table.

    Attributes:
      steps: One for each candidate, sorted.
      first: The candidate that was given first, to which others are compared.
    """

    steps: tuple[_planned_step.PlannedStep, ...]
    first: _planned_step.PlannedStep

    def __getitem__(self, key: Any) -> Any:
        """Return the step of a candidate by its name, or as a tuple does."""
        if not isinstance(key, str):
            return tuple(self)[key]
        for step in self.steps:
            if step.name == key:
                return step
        names = [step.name for step in self.steps]
        raise KeyError(f"no candidate {key!r} in this plan: it has {names}.")

    def __str__(self):
        """Return the table: bytes per step and device, seconds, bandwidths."""
        rows = [_cells(step, self.first) for step in self.steps]
        return _report_table.aligned_table([[_HEADER], rows], _NUMBERS)


def plan(
    tx: optax.GradientTransformation
    | _candidate.Candidate
    | Mapping[str, optax.GradientTransformation | _candidate.Candidate],
    params: Any,
    topology: Mapping[str, _link.Link],
    step_seconds: float,
    *,
    backward_share: float = 2 / 3,
    step: int = 0,
    **extra_args: Any,
) -> Plan:
    r"""Predict the time of a step on a network that is not there yet.

    What each device sends comes from :func:`communication_report`: nothing runs, and no
    device is needed. How long it travels comes from the :class:`Link` of its axis. A
    step takes

    .. math:: \max\Big(s + \frac{F}{H} \max(0, e - o s), \; \frac{F}{H} t\Big)

    with :math:`s` the seconds that it computes, :math:`H` local steps and :math:`F`
    fragments from one exchange to the next, :math:`t` the seconds that the messages of
    a fragment travel, :math:`e` the seconds by which they end after the step, and an
    overlap of :math:`o` steps. Messages go one after the other. They start when the
    step ends; those of ``aggregate(..., buckets=k)`` when their part of the backward
    pass ends.

    Args:
      tx: An optimizer, a :class:`Candidate`, or several of either with their names, to
        be compared with the first of them.
      params: Parameters, or their shapes and dtypes; with a ``NamedSharding`` where
        they are sharded inside of each worker.
      topology: The link of each axis over which ``tx`` communicates.
      step_seconds: Seconds in which a step computes and does not communicate.
      backward_share: The share of a step that is its backward pass, in [0, 1].
      step: Which step, for optimizers that change what they send with the step.
      **extra_args: Extra arguments of ``tx.update``, as in
        :func:`communication_report`.

    Returns:
      A :class:`Plan`; print it for a table. ``95 % busy at`` is the bandwidth of the
      slowest axis with which a step waits 5 % of its time. ``worth it below`` is the
      bandwidth below which a candidate is quicker than the first.

    Raises:
      TypeError: If ``tx`` is no optimizer or candidate, or a link no :class:`Link`.
      ValueError: If a number is out of range, no candidate is given, or the link of an
        axis is missing.

    Communication:
      None.

    Example:
      >>> signs = jaxdist.compression.error_feedback(jaxdist.compression.scaled_sign())
      >>> choices = {
      ...     "dense": jaxdist.aggregate("data"),
      ...     "signs": jaxdist.aggregate("data", compressor=signs, downlink=signs),
      ... }
      >>> params = jax.ShapeDtypeStruct((10_000_000,), jnp.float32)
      >>> network = {"data": jaxdist.Link(num_workers=2, bandwidth=12.5e6)}
      >>> plan = jaxdist.plan(choices, params, network, step_seconds=0.1)
      >>> print(*(f"{step.name} {step.seconds:.2f}" for step in plan.steps))
      signs 0.20 dense 3.30

    References:
      Hockney, `The communication challenge for MPP
      <https://doi.org/10.1016/S0167-8191(06)80021-9>`_, 1994, for the model of a
      message. Thakur et al., `Optimization of Collective Communication Operations in
      MPICH <https://doi.org/10.1177/1094342005051521>`_, 2005, for rings and trees.
    """
    candidates = _named_candidates(tx)
    _check_topology(topology)
    _checks.real("step_seconds", step_seconds, 0, above=True, static=True)
    _checks.real("backward_share", backward_share, 0, 1, static=True)
    num_workers = {name: link.num_workers for name, link in topology.items()}
    steps = [
        _planned_step.PlannedStep(
            name,
            chosen,
            chosen.step_seconds or step_seconds,
            backward_share,
            _communication_report.communication_report(
                chosen.tx, params, num_workers, step=step, **extra_args
            ).messages,
            topology,
        )
        for name, chosen in candidates.items()
    ]
    return Plan(tuple(sorted(steps, key=lambda step: step.seconds)), steps[0])


def _named_candidates(tx):
    """Return all candidates with their names."""
    if not isinstance(tx, Mapping):
        tx = {_ONLY: tx}
    if not tx:
        raise ValueError("`tx` must hold at least one candidate, got an empty mapping.")
    return {
        name: one
        if isinstance(one, _candidate.Candidate)
        else _candidate.Candidate(one)
        for name, one in tx.items()
    }


def _check_topology(topology):
    """Raise unless there are links with names."""
    example = '{"data": jaxdist.Link(8, bandwidth=1.25e9)}'
    _checks.instance("topology", topology, Mapping, example)
    for name, link in topology.items():
        _checks.instance(
            f"topology[{name!r}]", link, _link.Link, "jaxdist.Link(8, 1e9)"
        )


def _cells(step, first):
    """Return the row of a step."""
    worth = _shown_rate(step.break_even(first), "never", "always")
    return (
        step.name,
        _report_table.shown_bytes(step.nbytes),
        _shown_seconds(step.seconds),
        f"{100 * step.waiting:.0f} %",
        _shown_rate(step.min_bandwidth(), "always", "never"),
        "-" if step is first else worth,
    )


def _shown_rate(bandwidth: float, if_none: str, if_infinite: str) -> str:
    """Return a bandwidth with a unit, or a word for those that no link has."""
    if bandwidth == 0:
        return if_none
    if bandwidth == float("inf"):
        return if_infinite
    return f"{_report_table.shown_bytes(bandwidth)}/s"


def _shown_seconds(seconds: float) -> str:
    """Return a time with three digits and a unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
