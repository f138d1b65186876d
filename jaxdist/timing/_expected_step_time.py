"""Expected step time: what an update takes, where a formula is known."""

from jaxdist.timing import _law, _protocol


def expected_step_time(
    protocol: _protocol.Protocol,
    num_workers: int,
    law: _law.Law | _law.LawFunction,
) -> float:
    """Return the mean seconds from one update to the next.

    Args:
      protocol: Such as :func:`k_async`.
      num_workers: W.
      law: Of the time of one mini-batch.

    Returns:
      Seconds; inf where the mean is infinite.

    Raises:
      TypeError: If ``protocol`` or ``law`` is none.
      ValueError: If ``num_workers`` does not fit, or if no formula is known: for
        :func:`k_batch_sync` and :func:`k_async` of laws with memory, traces and laws of
        your own. :func:`simulate_clock` finds the time by simulation.

    Communication:
      None.

    Example:
      >>> law = jaxdist.timing.exponential(mean=1.0)
      >>> for k in (1, 4, 8):
      ...     protocol = jaxdist.timing.k_async(k)
      ...     print(round(jaxdist.timing.expected_step_time(protocol, 8, law), 4))
      0.125
      0.6345
      2.7179

    References:
      Dutta et al., `Slow and Stale Gradients Can Win the Race
      <https://arxiv.org/abs/1803.01113>`_, 2018, Section 3 and Lemmas 3-5.
    """
    _protocol.check_protocol(protocol)
    race = _protocol.checked_race(law, num_workers)
    protocol.check(race.num_workers)
    found = protocol.step_time(race.law, race.num_workers)
    if found is None:
        raise ValueError(
            f"No formula is known for the time of an update of {protocol.name} with "
            f"the law {race.law.name}. Simulate it: "
            "jaxdist.timing.simulate_clock(protocol, law, num_workers, "
            "num_updates).time[-1] / num_updates."
        )
    return float(found)
