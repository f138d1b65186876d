"""Recover: the gradient of all batches, though some workers fail."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.coding import _code
from jaxdist.workers import _arrival, _own_updates, _weight


class RecoverState(NamedTuple):
    """State of :func:`recover`."""

    covered: jax.Array  # float32, shape (): share of the data in the last step
    num_arrived: jax.Array  # int32, shape (): workers in the last step


def recover(
    axis_name: _collectives.AxisName, code: _code.Code
) -> optax.GradientTransformationExtraArgs:
    r"""Take the mean gradient of all batches, each from one worker that has it.

    .. math:: u = \frac{\sum_b n_b\,g_{i(b)}}{\sum_b n_b}, \qquad
       i(b) = \min\{i : i \text{ has batch } b \text{ and has arrived}\}

    Several workers compute the same batch (``code.block_of_worker`` says which), so the
    gradient is *exactly* that of all data as long as one copy of each batch arrives:
    no worker's NaN, bad memory or absence changes it. A mean of those who are left
    would lose their data. It takes the place of :func:`aggregate` in a chain. All
    workers must give the same gradient for the same batch; one that is wrong, but
    finite, is not found out.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      code: A repetition code whose workers hold one block each:
        :func:`jaxdist.coding.repetition`, ``fractional_repetition``,
        ``batched_coupons``.

    Returns:
      A transformation that keeps structure, shapes and dtypes, of updates that are
      means over the worker's own batch. Its updates are equal on all workers, and
      typed so.

      ``tx.update(updates, state, params, arrived=alive)`` says whether this worker
      counts, a bool of shape (). Workers whose updates are not finite, or of
      ``weight=0``, never do. Other weights mean nothing here: sizes of batches are
      the code's. Batches of which no copy arrives are left out of the mean:
      ``state.covered`` is then below 1. Where nothing arrives the update is 0.

    Raises:
      TypeError: If ``code`` is no code.
      ValueError: If its workers hold several blocks, or send combinations of them; when
        applied, if it is for another number of workers, if ``arrived`` is no scalar,
        if updates are already equal on all workers, or in simulated time, where only
        some workers meet.

    Communication:
      An all-reduce, 2(W-1)/W · b bytes for updates of b bytes in float32 or wider, and
      before it W - 1 bytes: who has arrived. On a mesh nobody is waited for less.

    Example:
      >>> code = jaxdist.coding.repetition(num_workers=4, num_batches=2)
      >>> tx = jaxdist.recover("data", code)
      >>> def step(gradient):
      ...     return tx.update(gradient, tx.init(gradient))
      >>> gradients = jnp.array([jnp.nan, 3.0, 1.0, 3.0])  # of the batches 0, 1, 0, 1
      >>> updates, state = jax.vmap(step, out_axes=None, axis_name="data")(gradients)
      >>> print(updates, state.covered, state.num_arrived)
      2.0 1.0 3

    References:
      Li et al., `Near-Optimal Straggler Mitigation for Distributed Gradient Methods
      <https://arxiv.org/abs/1710.09990>`_, 2017; here no server stops waiting.
    """
    _checks.axis_name(axis_name)
    _checks.instance("code", code, _code.Code, "jaxdist.coding.repetition(8, 4)")
    _check_one_block_each(code)

    def init(params):
        _tree.check_arrays("params", params)
        return RecoverState(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None, *, arrived=None, weight=None, **extra_args):
        del params
        _checks.own_state(state, RecoverState, "recover")
        _tree.check_arrays("updates", updates)
        _own_updates.check_own_updates(updates, axis_name)
        _check_workers(code, axis_name, extra_args.get("arrival"))
        is_here = _has_arrived(updates, arrived, weight, axis_name)
        with _traffic.sender(init, f"recover({axis_name!r})"):
            return _take_first_copies(updates, is_here, code, axis_name)

    return optax.GradientTransformationExtraArgs(init, update)


def _take_first_copies(updates, is_here, code, axis_name):
    """Return the mean over the batches that have arrived, and the state after it."""
    with _traffic.contents([_traffic.Content("(arrived)", 1)]):
        # Bytes, because not every backend gathers bools.
        flags = _collectives.all_gather(is_here.astype(jnp.uint8), axis_name) > 0
    sizes = jnp.asarray(code.block_sizes, jnp.float32)
    units = jnp.sum(code.decode(flags).weights * sizes[None], axis=1)  # [W]
    total = jnp.sum(units)
    share = units[_collectives.axis_index(axis_name)] / jnp.maximum(total, 1)
    names, leaves, treedef = _tree.flatten_named(updates)
    own = [_share_of(leaf, share) for leaf in leaves]
    contents = [
        _traffic.Content(
            name,
            _collectives.psum_nbytes(leaf),
            leaf.shape,
            "recover",
            dense=_traffic.all_reduce_bytes(_tree.leaf_nbytes(leaf), code.num_workers),
        )
        for name, leaf in zip(names, leaves, strict=True)
    ]
    with _traffic.contents(contents):
        sums = _collectives.psum(own, axis_name)
    means = [x.astype(leaf.dtype) for x, leaf in zip(sums, leaves, strict=True)]
    covered = total / float(code.num_units)
    num_arrived = jnp.sum(flags, dtype=jnp.int32)
    return treedef.unflatten(means), RecoverState(covered, num_arrived)


def _share_of(leaf, share):
    """Return what this worker adds to the mean: zeros where another copy counts."""
    wide = _tree.widened(leaf)
    counts = share > 0
    return jnp.where(counts, jnp.where(counts, wide, 0) * share.astype(wide.dtype), 0)


def _has_arrived(updates, arrived, weight, axis_name):
    """Return whether this worker counts; bool, shape ()."""
    is_here = _tree.is_finite(updates)
    if arrived is not None:
        if jnp.ndim(arrived):
            raise ValueError(
                "`arrived` must be one bool for each worker, a scalar, got shape "
                f"{jnp.shape(arrived)}."
            )
        is_here &= jnp.asarray(arrived).astype(bool)
    if weight is not None:
        is_here &= _weight.own_weight(weight, axis_name) > 0
    return is_here


def _check_one_block_each(code):
    if code.coefficients is not None or np.any(code.placement.sum(axis=1) != 1):
        raise ValueError(
            "`code` must be a repetition code whose workers hold one block each, such "
            f"as jaxdist.coding.repetition(8, 4), got {code.name}."
        )


def _check_workers(code, axis_name, arrival):
    """Raise unless each worker of the code is there, in its place."""
    num_workers = _collectives.axis_size(axis_name)
    if num_workers != code.num_workers:
        raise ValueError(
            f"`code` {code.name} is for {code.num_workers} workers, but `axis_name` "
            f"{axis_name!r} has {num_workers}."
        )
    if not _arrival.meets_everybody(arrival):
        raise ValueError(
            f"`code` {code.name} means workers by their index, but here not all "
            "workers meet in one update. jaxdist.timing.until_decodable simulates a "
            "server that waits for one copy of each batch."
        )
