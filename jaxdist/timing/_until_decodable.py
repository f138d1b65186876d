"""Until decodable: wait until what has arrived gives the gradient of all data."""

import jax.numpy as jnp
import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code
from jaxdist.timing import _clock, _protocol


def until_decodable(code: _code.Code, limit: int | None = None) -> _protocol.Protocol:
    """Wait until the exact gradient of all units can be decoded; then all begin again.

    Times of a law are those of one unit: worker i takes as many times longer as it has
    units. Of a repetition code the B messages that count meet in an update, each the
    mean gradient of one block, from the first of its holders. Of a linear code it is
    the first ``threshold`` workers, each with its weight.

    Args:
      code: Such as :func:`jaxdist.coding.batched_coupons`.
      limit: Give up after so many workers, in [1, W], and take what there is, scaled so
        that the mean gradient has no bias where all workers are equally fast; None
        never gives up. For repetition codes.

    Returns:
      A protocol for :func:`jaxdist.simulate_async`, whose batch then has a leading axis
      that the number of units divides. A block that has not arrived is a gradient of
      zeros: with ``limit``, use the rule ``mean``.

    Raises:
      TypeError: If ``code`` is no code.
      ValueError: If all workers together do not cover the code, its blocks are not of
        one size, or ``limit`` is out of range or given for a linear code.

    Communication:
      None.

    Example:
      >>> timing = jaxdist.timing
      >>> code = jaxdist.coding.fractional_repetition(num_workers=4, num_stragglers=1)
      >>> law = timing.trace([[1.0], [3.0], [9.0], [2.0]])  # seconds of each unit
      >>> protocol = timing.until_decodable(code)
      >>> times = timing.simulate_clock(protocol, law, num_workers=4, num_updates=1)
      >>> print(code.loads, times.time, times.worker)
      [2 2 2 2] [4.] [[0 3]]

    References:
      Li et al., `Near-Optimal Straggler Mitigation for Distributed Gradient Methods
      <https://arxiv.org/abs/1710.09990>`_, 2017. Tandon et al., `Gradient Coding
      <https://arxiv.org/abs/1612.03301>`_, 2017.
    """
    _checks.instance("code", code, _code.Code, "jaxdist.coding.uncoded(4, 4)")
    _check_code(code)
    is_linear = code.coefficients is not None
    if limit is not None:
        limit = _checks.integer("limit", limit, 1, code.num_workers)
        if is_linear:
            raise ValueError(
                f"`limit` must be None for the linear code {code.name}, whose messages "
                "mean nothing before they can be decoded."
            )
    choose = _first_workers if is_linear else _first_holders

    def wait(race, clock):
        loads = jnp.asarray(code.loads, jnp.float32)
        seconds, arrivals = choose(code, limit, clock, clock.remaining * loads)
        clock = _clock.let_pass(clock, seconds)
        return _clock.next_update(race.restart_all(clock)), arrivals

    number = code.threshold if is_linear else code.num_blocks
    tail = "" if limit is None else f", {limit}"
    return _protocol.Protocol(
        f"until_decodable({code.name}{tail})",
        number or code.num_workers,
        wait,
        is_synchronous=True,
        staleness=lambda num_workers: 0.0,
        code=code,
    )


def _check_code(code):
    """Raise for a code that a simulation cannot run."""
    if not code.covers:
        raise ValueError(
            f"`code` must cover every block, but nobody holds some blocks of "
            f"{code.name}: draw the placement again with another `key`."
        )
    if len(set(code.block_sizes.tolist())) > 1:
        raise ValueError(
            "`code` must have blocks of one size, so that their gradients have one "
            f"shape, got sizes from {code.block_sizes.min()} to "
            f"{code.block_sizes.max()} of {code.name}: choose a number of units that "
            "the blocks divide."
        )


def _first_holders(code, limit, clock, times):
    """Return when all blocks, or ``limit`` workers, are there, and who brings each."""
    worker, brought = code.first_holders(times)
    seconds, share = jnp.max(brought), None
    if limit is not None:
        seconds = jnp.minimum(seconds, jnp.sort(times)[limit - 1])
        chance = jnp.asarray(code.inclusion(limit), jnp.float32)
        share = (brought <= seconds).astype(jnp.float32) / chance
        worker = jnp.where(share > 0, worker, code.num_workers)  # of nobody
    order = jnp.argsort(worker, stable=True)
    return seconds, _arrivals(
        clock, worker[order], None if share is None else share[order], order
    )


def _first_workers(code, limit, clock, times):
    """Return when enough workers are there, and what each of them counts."""
    del limit
    number = code.threshold
    workers = jnp.sort(jnp.argsort(times, stable=True)[:number]).astype(jnp.int32)
    arrived = jnp.zeros(code.num_workers, bool).at[workers].set(True)
    # A mean of K messages is the mean of B blocks: K / B of the weights of the sum.
    weights = code.decode(arrived).weights[workers].astype(jnp.float32)
    share = weights * np.float32(number / code.num_blocks)
    return code.finish_time(times), _arrivals(clock, workers, share, None)


def _arrivals(clock, workers, share, block):
    """Return arrivals of the current parameters."""
    fresh = jnp.broadcast_to(clock.updates, workers.shape)
    count = jnp.take(clock.draws, workers, mode="clip") + 1
    return _clock.Arrivals(workers, fresh, count, jnp.zeros_like(workers), share, block)
