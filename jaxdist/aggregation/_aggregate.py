"""Aggregate: the transformation that turns W gradients into one."""

from typing import Literal

import jax
import optax

from jaxdist import _checks, _collectives, _random
from jaxdist.aggregation import (
    _aggregation,
    _leaf_by_leaf,
    _leaf_plan,
    _on_shards,
    _routes,
)
from jaxdist.compression import _compressor, _joint, _per_leaf, _stages
from jaxdist.rules import _mean, _rule
from jaxdist.workers import _levels, _shards


def aggregate(
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    route: Literal["auto", "psum", "gather", "scatter"] = "auto",
    *,
    downlink: _compressor.AnyCompressor | None = None,
    scope: Literal["gradient", "leaf"] = "gradient",
    weighted: bool = False,
    metrics: bool = False,
    key: int | jax.Array = 0,
    model_axis_name: _collectives.AxisName | None = None,
    buckets: int = 1,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn the updates of W workers into one, the same on all of them.

    .. math:: u = F\big(D(C(g_1)), \dots, D(C(g_W))\big)

    Each worker compresses its updates, the payloads travel, and the rule :math:`F`
    makes one of them. The leaves that take one route travel as one message.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      rule: How W contributions become one; :func:`jaxdist.rules.mean` when None.
      compressor: What each worker sends: a compressor for every leaf, or a policy from
        :func:`jaxdist.compression.by_leaf` or :func:`jaxdist.compression.by_step`. None
        sends the updates as they are.
      route: ``"psum"``, ``"gather"``, ``"scatter"``, or ``"auto"``, which takes the
        one with the fewest bytes for each leaf; for incremental compressors, whose
        receivers remember, it is the first possible of the three. Robust rules keep W
        decoded gradients on the route gather, and about one on the route scatter.
      downlink: What travels back on the route scatter, with a state of its own:
        compressor or policy. None sends the result in the dtype of the leaf. Implies
        ``"scatter"``.
      scope: What the rule judges: ``"gradient"``, with one distance over all leaves, or
        each ``"leaf"`` as if it were all there is, so that it may trust other workers
        in each. Then each leaf travels alone, and the state is a tree like the
        parameters with an :class:`AggregateState` for each.
      weighted: Whether ``weight`` will be given. Only for incremental compressors with
        the mean (:func:`jaxdist.compression.ef21`) does the state depend on it: their
        receivers then remember one estimate for each worker instead of one mean.
      metrics: Note for :func:`aggregation_metrics` what the rule did with whom. The
        mean then has to see each worker, as robust rules do: the route psum is out.
      key: Seed or key of everything random; the same on all workers. Aggregations over
        different axes draw independently also where they have the same key, and so do
        leaves of different names.
      model_axis_name: Mapped axis, or tuple of axes, over which the parameters
        themselves are sharded, so that distances and norms are those of the whole
        gradient. Compressors take each shard for a leaf, and draw alike on all shards.
        Leaves that are not sharded count once where a type says so
        (``check_vma=True``), and else once for each shard. Not needed where XLA shards
        the parameters (an axis that is not manual).
      buckets: How many messages there are, at most, of about as many bytes: the last
        leaves first, as the backward pass makes them, so that messages travel while it
        goes on. Each begins when the one before it has arrived. Of names that differ in
        a number the largest is the last. XLA joins the messages of the route psum, so
        ``"auto"`` leaves it out where another sends no more than padding besides.
        Compressors that find a mean in a dialogue
        (:func:`jaxdist.compression.power_sgd`) talk about all leaves at once.

    Returns:
      A transformation that keeps structure, shapes and dtypes. Its updates are equal
      on all workers, and typed so. Sums are in float32 or wider. NaN and infinity of
      one worker make the mean non-finite, but not a robust rule: it counts the worker
      as Byzantine. When more are not finite than the rule tolerates, the update is 0;
      ``state.rule.num_nonfinite`` says how many were. Rules with a reference gradient
      take it as ``tx.update(updates, state, params, reference=...)``, a tree like the
      updates that is equal on all workers.

      ``tx.update(updates, state, params, weight=w)`` says how much this worker counts:
      a scalar of at least 0, no unit, such as its number of tokens. The mean weighs by
      it, and so do rules whose contract says ``weighs``; others ask only whether it is
      0. A worker of weight 0 is *absent*: it counts for no rule, is not among
      the Byzantine, and what its compressor remembers stays untouched. A weight that is
      negative or not finite counts as 0. A rule that cannot work with those who are
      left gives 0. Where all are absent the update is 0 and nothing else changes;
      ``state.rule.num_absent`` says how many were. On a mesh an absent worker saves no
      time: all devices still run the step. With one :func:`aggregate` for each level
      of a network, ``weight`` is a mapping from axis names to weights, which the
      recipes make.

      ``tx.update(updates, state, params, overlap=True)``, a constant of the program,
      says that the step goes on with other computations before it needs the result, as
      rounds with ``overlap`` do. ``"auto"`` then leaves out the route psum, whose
      message a TPU does not hide behind a loop, but for compressors that know no other
      (:func:`jaxdist.compression.power_sgd`). The state is the same with and without.

    Raises:
      TypeError: If ``rule``, ``compressor`` or ``downlink`` is none.
      ValueError: If ``route`` or ``scope`` is unknown, ``buckets`` is below 1, or not 1
        with ``scope="leaf"``, or ``overlap`` is neither True nor False; if a
        coordinate-wise rule meets a compressor whose workers keep different
        coordinates; when applied, if rule, compressor and route cannot go together, if
        the rule cannot work with so few workers, if its ``reference`` is missing, if
        ``weight`` is no scalar or the rule knows no absent workers, or if the updates
        are already equal on all workers; in simulated time, where only some workers
        meet, if the compressor is incremental or the rule trusts a worker.

    Communication:
      With b bytes of payload and c bytes back: psum 2(W-1)/W · b, gather (W-1) · b,
      scatter (W-1)/W · (b + c), and there 2(W-1)/W · 4W² more for rules that need
      distances, 4W instead of 4W² for other robust rules; with ``scope="leaf"`` so
      much for each leaf.
      A ``weight`` costs W - 1 numbers of 4 bytes. :func:`communication_report` lists
      all of it, leaf by leaf.

    Example:
      >>> tx = optax.chain(
      ...     jaxdist.aggregate(
      ...         "data",
      ...         rule=jaxdist.rules.trimmed_mean(num_byzantine=1),
      ...         compressor=jaxdist.compression.error_feedback(
      ...             jaxdist.compression.scaled_sign()
      ...         ),
      ...     ),
      ...     optax.sgd(0.1),
      ... )
      >>> def step(params, gradient):
      ...     state = tx.init(params)
      ...     return tx.update(gradient, state, params)[0]
      >>> gradients = jnp.array([[1.0], [2.0], [3.0], [1000.0]])
      >>> workers = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="data")
      >>> print(workers(jnp.zeros(1), gradients))
      [-0.25]
    """
    _checks.one_of("scope", scope, _leaf_by_leaf.SCOPES)
    bound = bind_aggregation(
        axis_name,
        rule,
        compressor,
        route,
        downlink,
        weighted,
        metrics,
        key,
        model_axis_name,
        buckets,
    )
    if scope == "leaf" and buckets > 1:
        raise ValueError(
            "`buckets` must be 1 with `scope='leaf'`, where each leaf is a message of "
            f"its own, got {buckets}."
        )
    tx = transformation_of(bound)
    return _leaf_by_leaf.apply_to_each_leaf(tx) if scope == "leaf" else tx


def bind_aggregation(
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule | None,
    compressor: _compressor.AnyCompressor | None,
    route: str,
    downlink: _compressor.AnyCompressor | None = None,
    weighted: bool = False,
    metrics: bool = False,
    key: int | jax.Array = 0,
    model_axis_name: _collectives.AxisName | None = None,
    buckets: int = 1,
) -> _aggregation.Aggregation:
    """Check the arguments of :func:`aggregate`, and bind them once."""
    rule = _mean.mean() if rule is None else rule
    compressor = _per_leaf.DENSE if compressor is None else compressor
    _checks.flag("weighted", weighted)
    _checks.flag("metrics", metrics)
    _check_arguments(axis_name, rule, compressor, route, downlink)
    _check_model_axis(axis_name, model_axis_name)
    draws = rule.draws or any(map(_compressor.may_draw, (compressor, downlink)))
    bound = _aggregation.Aggregation(
        axis_name,
        model_axis_name,
        rule,
        _stages.split_stages(compressor, downlink),
        route,
        weighted,
        metrics,
        _random.stream_if(draws, key, f"aggregate over {axis_name}"),
        _checks.integer("buckets", buckets, 1),
    )
    _check_stages(rule, bound.stages)
    return bound


def transformation_of(
    bound: _aggregation.Aggregation,
) -> optax.GradientTransformationExtraArgs:
    """Return the transformation that takes the steps of an aggregation."""

    def init(params):
        if _levels.is_skipped():
            return ()
        shards = _shards.declared_for(params)
        if shards is not None:
            return _on_shards.init_on_shards(shards, bound, params)
        return _aggregation.init_state(bound, params)

    def update(
        updates,
        state,
        params=None,
        *,
        reference=None,
        weight=None,
        overlap=False,
        **extra_args,
    ):
        _checks.flag("overlap", overlap)
        if _levels.is_skipped():
            return updates, state
        if bound.optimizer is not None and weight is not None:
            extra_args["weight"] = weight  # for another level inside of it
        about = _aggregation.About(params, extra_args, bool(overlap))
        arguments = bound, updates, state, reference, weight, about
        shards = _shards.declared_for(updates)
        if shards is not None:
            return _on_shards.step_on_shards(shards, *arguments)
        _on_shards.check_undeclared(updates)
        if _shards.axes_inside() and not _shards.has_parts():
            _on_shards.check_aggregation(bound)
        return _aggregation.take_step(*arguments)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_arguments(axis_name, rule, compressor, route, downlink):
    """Raise for what cannot be an aggregation."""
    _checks.axis_name(axis_name)
    _checks.instance("rule", rule, _rule.AggregationRule, "jaxdist.rules.mean()")
    _per_leaf.check_compressor("compressor", compressor, policies=True, steps=True)
    _checks.one_of("route", route, ("auto", *_routes.ROUTES))
    if downlink is not None:
        _per_leaf.check_compressor("downlink", downlink, policies=True, steps=True)
    if downlink is not None and route not in ("auto", "scatter"):
        raise ValueError(
            f"`downlink` compresses the way back of the route 'scatter'; the route "
            f"{route!r} has none. Use `route='scatter'` or no downlink."
        )


def _check_model_axis(axis_name, model_axis_name):
    """Raise unless the axis of a sharded model is another than that of the workers."""
    if model_axis_name is None:
        return
    _checks.axis_name(model_axis_name, "model_axis_name")
    both = set(_collectives.names_of(axis_name)) & set(
        _collectives.names_of(model_axis_name)
    )
    if both:
        raise ValueError(
            f"`model_axis_name` must name other axes than `axis_name`, over which the "
            f"workers are spread, got {model_axis_name!r} for {axis_name!r}."
        )


def _check_stages(rule, stages):
    """Raise for compressors that cannot go together, or not with the rule."""
    for stage in stages:
        compressor, downlink = stage.compressors
        _joint.check_downlink(compressor, downlink)
        if isinstance(compressor, _compressor.Compressor):
            _leaf_plan.check_alignment(rule.name, rule.needs_aligned, compressor)
