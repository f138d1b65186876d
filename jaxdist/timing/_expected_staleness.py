"""Expected staleness: how old gradients are, which hardly depends on the law."""

from jaxdist import _checks
from jaxdist.timing import _protocol


def expected_staleness(protocol: _protocol.Protocol, num_workers: int) -> float:
    """Return how many updates old a gradient is in the mean.

    It is 0 for synchronous protocols, W / K - 1 for :func:`k_async` and (W - 1) / K for
    :func:`k_batch_async`, whatever the law: what is read must arrive, so the mean
    follows from a count of the mini-batches on their way.

    Args:
      protocol: Such as :func:`k_async`.
      num_workers: W.

    Returns:
      Updates between the parameters that were read and those that are updated.

    Raises:
      TypeError: If ``protocol`` is none.
      ValueError: If ``num_workers`` does not fit, or no formula is known, as for
        :func:`ringmaster`: :func:`simulate_clock` finds it by simulation.

    Communication:
      None.

    Example:
      >>> print(jaxdist.timing.expected_staleness(jaxdist.timing.k_async(1), 8))
      7.0
    """
    _protocol.check_protocol(protocol)
    num_workers = _checks.integer("num_workers", num_workers, 1)
    protocol.check(num_workers)
    found = protocol.staleness(num_workers)
    if found is None:
        raise ValueError(
            f"No formula is known for the staleness of {protocol.name}. Simulate it: "
            "jaxdist.timing.simulate_clock(protocol, law, num_workers, "
            "num_updates).staleness.mean()."
        )
    return float(found)
