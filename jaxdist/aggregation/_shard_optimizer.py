"""Shard optimizer: each worker keeps the optimizer's state for its part only.

A sharded optimizer is a way back. On the route scatter a compressor of the way back
sees this worker's part of the result, has a state of its own for it, and decides what
is gathered: the optimizer takes its place. Specs, checkpoints, reports and resizing
then hold without code of their own.
"""

from typing import Any, NamedTuple

import jax
import optax

from jaxdist import _checks, _collectives
from jaxdist.aggregation import _aggregate
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.rules import _rule
from jaxdist.workers import _worker_state


class Part(NamedTuple):
    """What a worker keeps for its part of a leaf."""

    param: Any  # [d/W], while a step is taken; () between steps
    inner_state: Any  # state of the wrapped optimizer for this part


def shard_optimizer(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformation,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    *,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Aggregate, and let each worker take the optimizer's step for its own part.

    .. math:: u = \big(\mathrm{inner}_1(F(g)_1), \dots, \mathrm{inner}_W(F(g)_W)\big)

    On the route scatter each worker ends up with 1/W of the aggregated gradient. It is
    not gathered: the worker steps with its part of the parameters, and what is gathered
    are the updates. This takes the place of ``aggregate(...)`` followed by ``inner``,
    and sends no byte more, but moments take 1/W of the memory.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      inner: An optimizer that treats every coordinate alike: ``optax.adamw``, ``sgd``,
        ``lion``. It sees parts of leaves, flat and one at a time, so what needs a norm
        or a shape of a whole leaf (clipping, LAMB, Muon) belongs before or after.
      rule: As in :func:`aggregate`.
      compressor: As in :func:`aggregate`; one that can be split.
      key: As in :func:`aggregate`.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates are equal on
      all workers. Its state is an :class:`AggregateState` with the parts of the state
      of ``inner`` under ``downlink``; :func:`resize_residuals` cuts them again for
      another number of workers.

    Raises:
      TypeError: If ``inner`` is no optimizer, or as :func:`aggregate` raises.
      ValueError: As :func:`aggregate` raises; in ``update``, if ``params`` is missing.
      NameError: If ``init`` is called where the number of workers is not known: use
        :func:`init`, or a recipe.

    Shapes:
      inner: ``[d/W]`` for a leaf of d elements, padded with zeros.

    Communication:
      With b bytes of payload and c of updates (W-1)/W · (b + c).

    Example:
      >>> tx = jaxdist.shard_optimizer("data", optax.sgd(0.5))
      >>> def step(params, gradient):
      ...     return tx.update(gradient, tx.init(params), params)[0]
      >>> workers = jax.vmap(step, (None, 0), axis_name="data")
      >>> print(workers(jnp.zeros(2), jnp.array([[1.0, 2.0], [3.0, 4.0]]))[0])
      [-1.  -1.5]

    References:
      Rajbhandari et al., `ZeRO: Memory Optimizations Toward Training Trillion Parameter
      Models <https://arxiv.org/abs/1910.02054>`_, 2019, stage 1, :math:`P_{os}`.
      Updates are gathered instead of parameters.
    """
    _checks.instance("inner", inner, optax.GradientTransformation, "optax.adam(1e-3)")
    aggregate = _aggregate.aggregate(
        axis_name, rule, compressor, "scatter", downlink=_step_of(inner), key=key
    )

    def init(params):
        return _map_parts(_without_param, aggregate.init(params), params)

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError(
                "shard_optimizer needs `params`: call "
                "tx.update(updates, state, params)."
            )

        def with_param(part, param):
            own = _collectives.own_part(param, axis_name)
            return part._replace(param=own[None])

        state = _map_parts(with_param, state, params)
        updates, state = aggregate.update(updates, state, params, **extra_args)
        return updates, _map_parts(_without_param, state, params)

    return optax.GradientTransformationExtraArgs(init, update)


def _step_of(inner: optax.GradientTransformation) -> _compressor.Compressor:
    """Return what travels back instead of a part of the gradient: the step it makes."""

    def init(leaf):
        return Part(leaf, inner.init(leaf))

    def encode(leaf, state, keys, blocks):
        updates, inner_state = inner.update(leaf, state.inner_state, state.param)
        payload, _ = _per_leaf.DENSE.encode(updates, (), keys, blocks)
        return payload, Part(state.param, inner_state)

    return _compressor.Compressor(
        init, encode, _per_leaf.DENSE.decode, _compressor.Contract(), "optimizer"
    )


def _without_param(part, param):
    del param
    return part._replace(param=())


def _map_parts(function, state, params):
    """Apply a function to the parts of all leaves that have elements."""

    def change(param, part):
        return function(part, param) if isinstance(part, Part) else part

    parts = jax.tree.map(change, params, state.downlink.inner_state)
    return state._replace(downlink=_worker_state.PerWorkerState(parts))
