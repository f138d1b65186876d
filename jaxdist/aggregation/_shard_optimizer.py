"""Shard optimizer: each worker keeps the optimizer's state for its part only.

On the route scatter each worker holds its part of the result before it is gathered. The
optimizer takes its step there, and what is gathered are the updates. Specs, checkpoints
and reports are those of an aggregation.
"""

import dataclasses

import jax
import optax

from jaxdist import _checks, _collectives
from jaxdist.aggregation import _aggregate, _part_optimizer
from jaxdist.compression import _compressor
from jaxdist.rules import _rule


def shard_optimizer(
    axis_name: _collectives.AxisName,
    inner: optax.GradientTransformation,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    *,
    max_norm: float | None = None,
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
      inner: An optimizer that treats every coordinate alike, with masks and labels of
        any kind: ``optax.adamw``, ``sgd``, ``lion``, ``partition`` of them. What needs
        a norm or a shape of a whole leaf (LAMB, Muon, noise) is refused. It may begin
        with an :func:`aggregate` over another axis: of a pod's devices over
        ``axis_name`` each then sends its part to other pods, and the pod sends each
        element once. With nothing behind it, ``shard_optimizer("ici",
        aggregate("dcn", ...))`` is an aggregation in two levels.
      rule: As in :func:`aggregate`.
      compressor: As in :func:`aggregate`; one that can be split.
      max_norm: The aggregated gradient is scaled to at most this global norm before
        ``inner`` sees it, as ``optax.clip_by_global_norm`` would; None leaves it. Not
        where ``inner`` aggregates.
      key: As in :func:`aggregate`.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates are equal on
      all workers. Its state is an :class:`AggregateState` with the parts of the state
      of ``inner`` under ``downlink``; :func:`resize_residuals` cuts them again for
      another number of workers.

    Raises:
      TypeError: If ``inner`` is no optimizer, or as :func:`aggregate` raises.
      ValueError: As :func:`aggregate` raises; if ``max_norm`` is not above 0; in
        ``init``, if ``inner`` mixes the elements of a leaf or looks at its shape, or
        aggregates with a compressor that needs the shape, or with ``max_norm``; in
        ``update``, if ``params`` is missing, or if ``weight`` is one number where there
        are two levels.
      NameError: If ``init`` is called where the number of workers is not known: use
        :func:`init`, or a recipe.

    Shapes:
      inner: Sees ``[1, ..., 1, d/W]`` for a leaf of d elements, padded with zeros, of
        the rank of the leaf.

    Communication:
      With b bytes of payload and c of updates (W-1)/W · (b + c); with ``max_norm``
      2(W-1)/W · 4 bytes more.

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
    _checks.optimizer("inner", inner)
    if max_norm is not None:
        max_norm = _checks.real("max_norm", max_norm, 0.0, above=True)
    inner = optax.with_extra_args_support(inner)
    bound = _aggregate.bind_aggregation(axis_name, rule, compressor, "scatter", key=key)
    optimizer = _part_optimizer.PartOptimizer(inner, max_norm)
    tx = _aggregate.transformation_of(dataclasses.replace(bound, optimizer=optimizer))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError(
                "shard_optimizer needs `params`: call "
                "tx.update(updates, state, params)."
            )
        return tx.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(tx.init, update)
