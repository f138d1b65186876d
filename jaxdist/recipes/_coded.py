"""Coded: the mini-batches and the loss of workers that compute for each other."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _tree
from jaxdist.coding import _code
from jaxdist.recipes import _gradient
from jaxdist.timing import _clock

_OWN_LOSS = "(loss)"  # a name that no metric of a user has


def take_blocks(code: _code.Code, batch: Any, arrivals: _clock.Arrivals) -> Any:
    """Return what each message is computed of, ``[K, ...]``.

    Args:
      code: Its units divide the leading axis of the batch.
      batch: Of all units, one after the other.
      arrivals: The K messages of an update.
    """
    blocks = _split_units(batch, code)
    if code.coefficients is None:
        return jax.tree.map(lambda leaf: leaf[arrivals.block], blocks)
    held, factors = _table_of(code)
    mine = jnp.asarray(held)[arrivals.worker]  # [K, h]
    parts = jax.tree.map(lambda leaf: leaf[mine], blocks)
    return jnp.asarray(factors)[arrivals.worker], parts


def loss_of_message(loss: _gradient.Loss) -> _gradient.Loss:
    """Return the loss whose gradient a worker of a linear code sends.

    It takes factors ``[h]`` and blocks ``[h, b, ...]``. What the worker says its loss
    is, the mean over its blocks, comes back as a metric: see :func:`own_loss`.
    """

    def combined(params, part):
        factors, blocks = part

        def of_block(block):
            found = loss.function(params, block)
            return found if loss.has_aux else (found, {})

        losses, metrics = jax.vmap(of_block)(blocks)
        # Padded blocks, of factor 0, are no part of the worker's.
        here = (factors != 0).astype(losses.dtype)
        number = jnp.sum(here)

        def mean(values):
            return jnp.tensordot(here.astype(values.dtype), values, 1) / number

        means = jax.tree.map(mean, metrics | {_OWN_LOSS: losses})
        return jnp.sum(factors.astype(losses.dtype) * losses), means

    return dataclasses.replace(loss, function=combined, has_aux=True)


def own_loss(outcome: _gradient.Outcome) -> _gradient.Outcome:
    """Return the outcome with the worker's own loss as its loss, where it has one."""
    metrics = dict(outcome.metrics)
    loss = metrics.pop(_OWN_LOSS, outcome.loss)
    return outcome._replace(loss=loss, metrics=metrics)


def _table_of(code):
    """Return the blocks of each worker and their factors, ``[W, h]``; padded with 0."""
    width = int(code.placement.sum(axis=1).max())
    # Of equal ones the first come first: held blocks before others, in order.
    held = np.argsort(~code.placement, axis=1, kind="stable")[:, :width]
    factors = np.take_along_axis(code.coefficients, held, axis=1)
    return held, factors.astype(np.float32)


def _split_units(batch: Any, code: _code.Code) -> Any:
    """Cut a batch into blocks, ``[B, b, ...]``."""

    def cut(path, leaf):
        shape = jnp.shape(leaf)
        if not shape or shape[0] % code.num_units:
            raise ValueError(
                f"`batch` must have a leading axis that the {code.num_units} units of "
                f"{code.name} divide, but leaf {_tree.path_name(path)!r} has shape "
                f"{shape}."
            )
        return jnp.reshape(leaf, (code.num_blocks, -1, *shape[1:]))

    return jax.tree.map_with_path(cut, batch)
