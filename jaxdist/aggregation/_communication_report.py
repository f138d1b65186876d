"""Communication report: what a whole optimizer sends, leaf by leaf."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _traffic
from jaxdist.aggregation import _report_table
from jaxdist.workers import _shards, _typed


class CommunicationReport(NamedTuple):
    """What each worker sends in one optimizer step; print it for a table."""

    shipments: tuple[_traffic.Shipment, ...]  # one for each leaf and other message
    num_devices: int = 1  # of each worker; each of them sends this much
    messages: tuple[_traffic.Message, ...] = ()  # in the order in which they are sent

    @property
    def total_nbytes(self) -> float:
        """Bytes that each device sends per step, padding included."""
        return sum(shipment.nbytes for shipment in self.shipments)

    @property
    def axis_nbytes(self) -> dict[str, float]:
        """Bytes among them over each axis; all devices of a worker send as many."""
        totals: dict[str, float] = {}
        for shipment in self.shipments:
            totals[shipment.axis] = totals.get(shipment.axis, 0.0) + shipment.nbytes
        return totals

    @property
    def padding_nbytes(self) -> float:
        """Bytes among them that carry nothing."""
        return sum(shipment.padding for shipment in self.shipments)

    @property
    def dense_nbytes(self) -> float:
        """Bytes that a dense all-reduce of the same leaves would send."""
        return sum(shipment.dense for shipment in self.shipments)

    @property
    def ratio(self) -> float:
        """How many times fewer bytes travel than in a dense all-reduce."""
        return _report_table.byte_ratio(self.dense_nbytes, self.total_nbytes)

    def __str__(self):
        """Return the table: equal leaves in one row, bytes in units of a thousand."""
        return _report_table.report_table(self.shipments, self.num_devices)


def communication_report(
    tx: optax.GradientTransformation,
    params: Any,
    num_workers: int | Mapping[str, int],
    *,
    step: int = 0,
    **extra_args: Any,
) -> CommunicationReport:
    """List what each worker sends in one optimizer step.

    Nothing runs: a step is traced with the shapes of the parameters, and every
    transformation of jaxdist in it says what it would send.

    Args:
      tx: The whole optimizer.
      params: Parameters, or their shapes and dtypes. Those with a ``NamedSharding`` are
        sharded inside of each worker, as in a pod: see :func:`data_parallel`.
      num_workers: W; or the size of each axis, when the optimizer communicates over
        several: ``{"pod": 4, "device": 8}``.
      step: Which step, for compressors that change with the step
        (:func:`jaxdist.compression.by_step`).
      **extra_args: Extra arguments of ``tx.update``; a loss ``value`` is given anyhow.

    Returns:
      A report that prints as a table, with one row for all leaves that differ only in
      the numbers of their names, and a sum for each compressor; its ``shipments`` hold
      each leaf. A row has the compressor, the route, the bytes sent per worker per
      step, and the ratio against a dense all-reduce.
      All-reduces count as 2(W-1)/W times their size. What is sent every n steps counts
      as 1/n of it. Where parameters are sharded inside of a worker, all bytes are those
      of one of its ``num_devices``, and ``axis_nbytes`` tells what leaves the pod.

    Raises:
      ValueError: If ``num_workers`` is below 1 or does not give the size of an axis,
        or if ``step`` is negative.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     jaxdist.aggregate("data", compressor=jaxdist.compression.top_k(0.01)),
      ...     optax.sgd(0.1),
      ... )
      >>> report = jaxdist.communication_report(tx, {"w": jnp.zeros((100, 100))}, 8)
      >>> print(report.total_nbytes, round(report.ratio, 1))
      4200.0 16.7
    """
    _checks.optimizer("tx", tx)
    if isinstance(num_workers, Mapping):
        for name, size in num_workers.items():
            _checks.integer(f"num_workers[{name!r}]", size, 1)
    else:
        num_workers = _checks.integer("num_workers", num_workers, 1)
    step = _checks.integer("step", step, 0)
    tx = optax.with_extra_args_support(tx)
    of_workers = tuple(num_workers) if isinstance(num_workers, Mapping) else ()
    shards = _shards.shards_of(params, of_workers)

    def one_step(params, updates):
        extra = {"value": jnp.zeros(()), **extra_args}
        return tx.update(updates, tx.init(params), params, **extra)

    axes: dict[str, int] = {}
    while True:
        try:
            with _traffic.recording(step) as log:
                if shards is None:
                    jax.eval_shape(_bind_axes(one_step, axes), params, params)
                else:
                    _trace_on_shards(one_step, axes, shards, params)
            rows = tuple(row for sent in log.values() for row in sent.rows.values())
            messages = tuple(one for sent in log.values() for one in sent.messages)
            if shards is None:
                return CommunicationReport(rows, messages=messages)
            _check_axes(rows, shards)
            return CommunicationReport(rows, shards.number, messages)
        except _checks.LayoutError as error:
            if shards is None:
                raise
            raise ValueError(_both_axes(shards.axes)) from error
        except NameError as error:
            name = _unbound_axis(error)
            if name is None or name in axes:
                raise
            axes[name] = _size_of(name, num_workers, axes)


def _trace_on_shards(step, axes, shards, params):
    """Trace a step on shards, where types say what differs between devices."""
    like = shards.shapes_of_shards(params)
    specs = shards.specs_like(params)

    def worker(params):
        leaves, treedef = jax.tree.flatten(params)
        own = [
            _collectives.to_varying(leaf, _shards.axes_of_spec(spec))
            for leaf, spec in zip(leaves, specs, strict=True)
        ]
        params = treedef.unflatten(own)
        with _shards.enter(shards.axes):
            step(params, _collectives.to_varying(params, tuple(axes)))

    _typed.trace_typed(worker, {**axes, **dict(shards.sizes)}, like)


def _check_axes(rows, shards):
    """Raise where leaves are aggregated over an axis that shards them."""
    for row in rows:
        both = set(row.axis.split(",")) & set(shards.axes)
        if row.dense and both:
            raise ValueError(_both_axes(sorted(both)))


def _both_axes(axes):
    """Say what is wrong with leaves that are sharded over axes of workers."""
    return (
        "`params` must not be sharded over axes that `tx` aggregates over, got "
        f"shardings over {axes}. Where workers hold whole leaves, give their shapes "
        "alone."
    )


def _bind_axes(step, axes):
    """Return the step with all these axes bound."""
    for name, size in axes.items():
        step = jax.vmap(step, in_axes=None, axis_size=size, axis_name=name)
    return step


def _unbound_axis(error: NameError) -> str | None:
    """Return the axis that JAX found unbound."""
    found = re.search(r"unbound axis name: (\S+?)\.?(\s|$)", str(error))
    return found[1] if found else None


def _size_of(name, num_workers, axes):
    """Return the size of an axis that the optimizer asked for."""
    if isinstance(num_workers, Mapping):
        if name not in num_workers:
            raise ValueError(
                f"`num_workers` must give the size of axis {name!r}, "
                f"got {dict(num_workers)}."
            )
        return _checks.integer(f"num_workers[{name!r}]", num_workers[name], 1)
    if axes:
        raise ValueError(
            f"`num_workers` must give the size of each axis, since the optimizer "
            f"communicates over {next(iter(axes))!r} and {name!r}: "
            f"got {num_workers}, wanted a dict."
        )
    return num_workers
