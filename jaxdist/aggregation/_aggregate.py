"""Aggregate: the transformation that turns W gradients into one."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _traffic, _tree, _worker_state
from jaxdist.aggregation import _held, _judgement, _plan, _routes, _rule_state, _scope
from jaxdist.compression import _compressor, _joint, _per_leaf, _stages
from jaxdist.rules import _mean, _rule


class Received(NamedTuple):
    """What receivers remember of incremental compressors; ``()`` for all others.

    One estimate for rules that only need the mean, else one for each of W senders.
    """

    whole: Any  # tree of [d] or [W, d]: routes psum and gather; equal on all workers
    part: _worker_state.PerWorkerState  # tree of [d/W] or [W, d/W]: scatter; varies
    back: Any  # tree of [W, d/W]: the way back; equal on all workers


class AggregateState(NamedTuple):
    """State of :func:`aggregate`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: jax.Array  # typed key, shape (); equal on all workers
    uplink: _worker_state.PerWorkerState  # tree of compressor states; varies
    downlink: _worker_state.PerWorkerState  # the same for the way back; varies
    received: Received
    rule: _rule_state.RuleState


def aggregate(
    axis_name: _collectives.AxisName,
    rule: _rule.AggregationRule | None = None,
    compressor: _compressor.AnyCompressor | None = None,
    route: str = "auto",
    *,
    downlink: _compressor.AnyCompressor | None = None,
    scope: str = "gradient",
    metrics: bool = False,
    key: int | jax.Array = 0,
    model_axis_name: _collectives.AxisName | None = None,
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
      metrics: Note for :func:`aggregation_metrics` what a robust rule did with whom.
      key: Seed or key of everything random; the same on all workers.
      model_axis_name: Mapped axis, or tuple of axes, over which the parameters
        themselves are sharded, so that distances and norms are those of the whole
        gradient. Compressors take each shard for a leaf, and draw alike on all shards.
        Leaves that are not sharded count once where a type says so
        (``check_vma=True``), and else once for each shard. Not needed where XLA shards
        the parameters (an axis that is not manual).

    Returns:
      A transformation that keeps structure, shapes and dtypes. Its updates are equal
      on all workers, and typed so. Sums are in float32 or wider. NaN and infinity of
      one worker make the mean non-finite, but not a robust rule: it counts the worker
      as Byzantine. When more are not finite than the rule tolerates, the update is 0;
      ``state.rule.num_nonfinite`` says how many were. Rules with a reference gradient
      take it as ``tx.update(updates, state, params, reference=...)``, a tree like the
      updates that is equal on all workers.

    Raises:
      TypeError: If ``rule``, ``compressor`` or ``downlink`` is none.
      ValueError: If ``route`` or ``scope`` is unknown; if a coordinate-wise rule meets
        a compressor whose workers keep different coordinates; if ``metrics`` are asked
        of the mean, which sees no single worker; when applied, if rule, compressor and
        route cannot go together, if the rule cannot work with so few workers, if its
        ``reference`` is missing, or if the updates are already equal on all workers.

    Communication:
      With b bytes of payload and c bytes back: psum 2(W-1)/W · b, gather (W-1) · b,
      scatter (W-1)/W · (b + c), and there 2(W-1)/W · 4W² more for rules that need
      distances, 4W instead of 4W² for other robust rules; with ``scope="leaf"`` so
      much for each leaf.
      :func:`communication_report` lists them leaf by leaf.

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
    rule = _mean.mean() if rule is None else rule
    compressor = _per_leaf.DENSE if compressor is None else compressor
    _checks.axis_name(axis_name)
    if model_axis_name is not None:
        _checks.axis_name(model_axis_name, "model_axis_name")
    _checks.instance("rule", rule, _rule.AggregationRule, "jaxdist.rules.mean()")
    _per_leaf.check_compressor("compressor", compressor, policies=True, steps=True)
    _checks.one_of("route", route, ("auto", *_plan.ROUTES))
    _checks.one_of("scope", scope, _scope.SCOPES)
    if downlink is not None:
        _per_leaf.check_compressor("downlink", downlink, policies=True, steps=True)
    if downlink is not None and route not in ("auto", "scatter"):
        raise ValueError(
            f"`downlink` compresses the way back of the route 'scatter'; the route "
            f"{route!r} has none. Use `route='scatter'` or no downlink."
        )
    if metrics and rule.linear:
        raise ValueError(
            "`metrics` say what a rule did with each worker, but mean() only sees "
            "their sum. Use a robust rule, or read compression_metrics instead."
        )
    stages = _stages.split_stages(compressor, downlink)
    for stage in stages:
        _joint.check_downlink(*stage.compressors)
        if isinstance(stage.compressors[0], _compressor.Compressor):
            _plan.check_pair(rule, stage.compressors[0])
    key = _random.as_key(key)
    axes = _judgement.Axes(axis_name, model_axis_name)

    def plan_all(compressor, downlink, names, leaves):
        num_workers = _collectives.axis_size(axis_name)
        return [
            _plan.plan_leaf(
                name,
                leaf,
                num_workers,
                rule=rule,
                compressor=compressor,
                downlink=downlink,
                route=route,
                other_axes=_collectives.other_axes(leaf, axis_name),
            )
            for name, leaf in zip(names, leaves, strict=True)
        ]

    def init(params):
        return _stages.init_stages(stages, init_stage, params)

    def init_stage(compressor, downlink, params):
        params, _, policy_of = _joint.join_leaves(compressor, params)
        compressor, downlink = policy_of(compressor), policy_of(downlink)

        def plan(names, leaves):
            return plan_all(compressor, downlink, names, leaves)

        return AggregateState(
            jnp.zeros((), jnp.int32),
            key,
            _attach(_per_leaf.init_states(compressor, params), params, axis_name),
            _attach(_init_downlink(downlink, params, axis_name), params, axis_name),
            _init_received(plan, rule, [compressor, downlink], params, axis_name),
            _rule_state.init(plan, rule, metrics, params, axis_name),
        )

    def update(updates, state, params=None, *, reference=None, **extra_args):
        del params, extra_args
        reference = _rule_state.checked_reference(rule, reference, updates)
        return _stages.run_stage(
            stages, update_stage, state.count, updates, state, reference
        )

    def update_stage(compressor, downlink, updates, state, reference):
        _check_updates(updates, axis_name)
        reference = _joint.join_leaves(compressor, reference).tree
        updates, unbundle, policy_of = _joint.join_leaves(compressor, updates)
        compressor, downlink = policy_of(compressor), policy_of(downlink)
        names, leaves, treedef = _tree.flatten_named(updates)
        rule.check(_collectives.axis_size(axis_name))
        plans = plan_all(compressor, downlink, names, leaves)
        name = f"aggregate({axis_name!r})"
        shards = _collectives.axis_size(model_axis_name) if model_axis_name else 1
        for shipment in _plan.shipments(plans, rule, name, metrics, shards):
            # With scope "leaf" each leaf is a source: their distances add up.
            _traffic.record((init, *names), shipment)
        step = _random.step_key(state.key, state.count)
        uplink = _per_leaf.find_states(
            [plan.compressor for plan in plans],
            names,
            leaves,
            _worker_state.detach_axis(state.uplink),
        )
        backlink = _per_leaf.find_states(
            [plan.downlink for plan in plans],
            names,
            [plan.shard for plan in plans],
            _worker_state.detach_axis(state.downlink),
        )
        known, known_back = _received_of(plans, rule, names, state.received)
        anchors = _rule_state.anchors(
            plans, rule, names, state.rule, reference, axis_name
        )
        keys = [_random.leaf_key(step, stage) for stage in range(3)]
        with jax.named_scope("jaxdist.encode"):
            sent, uplink = _routes.encode(plans, leaves, uplink, keys[0], axis_name)
        with jax.named_scope("jaxdist.deliver"):
            arrived, uplink = _routes.exchange(sent, leaves, uplink, axis_name)
        with jax.named_scope("jaxdist.merge"):
            arrived = [
                item._replace(estimate=estimate, anchor=anchor)
                for item, estimate, anchor in zip(arrived, known, anchors, strict=True)
            ]
            merged = _routes.merge(arrived, rule, keys[1], state.rule.memory, axes)
        judged = _rule_state.after(plans, rule, metrics, merged, treedef, axes)
        with jax.named_scope("jaxdist.send_back"):
            leaves, backlink, known_back = _routes.send_back(
                merged.leaves, plans, backlink, known_back, keys[2], axis_name
            )
        return unbundle(treedef.unflatten(leaves)), AggregateState(
            _tree.next_count(state.count),
            state.key,
            _attach(treedef.unflatten(uplink), updates, axis_name),
            _attach(treedef.unflatten(backlink), updates, axis_name),
            _to_received(plans, merged.estimates, known_back, treedef, axis_name),
            judged,
        )

    tx = optax.GradientTransformationExtraArgs(init, update)
    return _scope.leaf_by_leaf(tx) if scope == "leaf" else tx


def _attach(states, leaves, axis_name):
    """Mark compressor states as each worker's own, sharded as their leaves are."""

    def vary(leaf, state):
        return _collectives.to_varying(state, _collectives.other_axes(leaf, axis_name))

    return _worker_state.attach_axis(jax.tree.map(vary, leaves, states), axis_name)


def _init_downlink(downlink, params, axis_name):
    """Return the states of the downlink's compressors, for this worker's parts."""
    if downlink is None:
        return jax.tree.map(lambda leaf: (), params)
    bound = _collectives.is_bound(axis_name)

    def init_leaf(path, leaf):
        chosen = _per_leaf.select_compressor(downlink, _tree.path_name(path), leaf)
        if bound or jax.tree.leaves(jax.eval_shape(chosen.init, leaf)):
            leaf = _part_for_downlink(chosen, leaf, axis_name)
        return chosen.init(leaf)

    return jax.tree.map_with_path(init_leaf, params)


def _init_received(plan, rule, compressors, params, axis_name):
    """Return zeros wherever the receivers of a leaf must remember."""
    names, leaves, treedef = _tree.flatten_named(params)
    chosen = [
        _per_leaf.select_compressor(compressor, name, leaf)
        for compressor in compressors
        if compressor is not None
        for name, leaf in zip(names, leaves, strict=True)
    ]
    if not any(compressor.incremental for compressor in chosen):
        whole, part = _held.nothing(treedef)
        return Received(whole, part, whole)
    plans = plan(names, leaves)
    up = [_held.zeros(_plan.estimate_like(plan, rule), plan) for plan in plans]
    back = [_held.zeros(_plan.back_estimate_like(plan), plan) for plan in plans]
    return _to_received(plans, up, back, treedef, axis_name)


def _to_received(plans, estimates, back, treedef, axis_name):
    """Sort the estimates by who holds them."""
    whole, part = _held.by_holder(plans, estimates, treedef, axis_name)
    return Received(whole, part, treedef.unflatten(back))


def _received_of(plans, rule, names, received):
    """Return the estimates of the way there and of the way back, leaf by leaf."""
    likes = [_plan.estimate_like(plan, rule) for plan in plans]
    there = _held.of_leaves(plans, likes, names, received.whole, received.part)
    back = [_plan.back_estimate_like(plan) for plan in plans]
    return there, _per_leaf.find_arrays(names, back, received.back)


def _part_for_downlink(downlink, leaf, axis_name):
    """Return my part, or say how to make a state whose shape depends on W."""
    try:
        return _collectives.own_part(leaf, axis_name)
    except NameError as error:
        raise NameError(
            f"{error} `downlink` {downlink.name} keeps a state for each worker's part "
            "of a leaf, so the number of workers must be known: make the state with "
            "jaxdist.init(tx, params, mesh, axis_name), or call tx.init inside "
            "shard_map, pmap or vmap."
        ) from None


def _check_updates(updates, axis_name):
    """Raise for leaves that are no gradients, or that were aggregated before."""
    names, leaves, _ = _tree.flatten_named(updates)
    for name, leaf in zip(names, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise TypeError(
                f"`updates` must be floating-point, but leaf {name!r} is {leaf.dtype}. "
                "Leave it out with optax.masked or optax.partition."
            )
        if not _collectives.is_varying(leaf, axis_name):
            raise ValueError(
                f"`updates` are already equal on all workers of {axis_name!r} (leaf "
                f"{name!r}): under shard_map, jax.grad of replicated parameters sums "
                "over the workers before anything could be compressed or checked. "
                f"Differentiate with jaxdist.value_and_grad(loss, {axis_name!r})."
            )
