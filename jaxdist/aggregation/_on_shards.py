"""On shards: an aggregation whose workers are several devices, as pods are.

Each device compresses its own shard of a leaf, and sends it to the devices that hold
the same shard in other pods. So a pod sends a payload once. XLA alone would gather
every leaf before it is packed, and each device of a pod would send all of it.

The state is that of shards. A residual has the shape and the sharding of its leaf;
whatever else differs between shards has an axis of them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxdist import _collectives, _tree
from jaxdist.aggregation import _aggregation
from jaxdist.compression import _joint
from jaxdist.workers import _moments, _shards, _weight


class _Place(NamedTuple):
    """How an array of the state, as a device has it, is part of a whole one."""

    spec: PartitionSpec  # over the axes of shards
    shard_axis: int | None  # that the whole one has, and the device's has not


def init_on_shards(
    shards: _shards.Shards, bound: _aggregation.Aggregation, params: Any
) -> _aggregation.AggregateState:
    """Return the state before the first step, the same for all shards."""
    check_aggregation(bound)
    state = _init_of_shard(bound, shards, params)
    places = _places_of(state, shards, params)

    def widen(leaf, place):
        if place.shard_axis is not None:
            leaf = jnp.expand_dims(leaf, place.shard_axis)
        counts = _num_parts(place.spec, leaf.ndim, shards)
        return _shards.place_array(jnp.tile(leaf, counts), place.spec)

    return _map_places(widen, state, places)


def step_on_shards(
    shards: _shards.Shards,
    bound: _aggregation.Aggregation,
    updates: Any,
    state: _aggregation.AggregateState,
    reference: Any,
    weight: _weight.Weight | None,
    about: _aggregation.About,
) -> tuple[Any, _aggregation.AggregateState]:
    """Return one gradient of W, and the state after it; as ``take_step`` does."""
    check_aggregation(bound)
    _check_mesh(bound.axis_name, shards)
    treedef = jax.tree.structure(updates)
    specs = treedef.unflatten(shards.specs_like(updates))
    made = jax.eval_shape(lambda: _init_of_shard(bound, shards, updates))
    places = _places_of(made, shards, updates)
    state_specs = _map_places(lambda leaf, place: place.spec, made, places)
    _check_types(bound, jax.tree.leaves(specs, is_leaf=_is_spec))
    about = about._replace(extra={})
    asked = _moments.are_asked_for()

    def step(updates, state, reference, weight):
        state = _map_places(_without_shard_axis, state, places)
        with _shards.enter(shards.axes), _moments.asked_for_if(asked) as noted:
            updates, after = _aggregation.take_step(
                bound, updates, state, reference, weight, about
            )
        after = _map_places(_with_shard_axis, after, places)
        return updates, after, [moments.numbers for moments in noted]

    mapped = jax.shard_map(
        step,
        in_specs=(
            *(specs, state_specs, None if reference is None else specs),
            PartitionSpec(),
        ),
        out_specs=(specs, state_specs, PartitionSpec()),
        axis_names=set(shards.axes),
        check_vma=_collectives.types_tracked(bound.axis_name),
    )
    state = _tree.arrange_like(made, state)
    updates, after, noted = mapped(updates, state, reference, weight)
    for numbers in noted:
        _moments.note(_moments.Moments(bound.axis_name, *numbers))
    return updates, after


def map_shards(
    function: Callable[[_aggregation.AggregateState, Any], _aggregation.AggregateState],
    shards: _shards.Shards,
    state: _aggregation.AggregateState,
    params: Any,
) -> _aggregation.AggregateState:
    """Return a state whose shards are ``function(shard, shapes of its leaves)``.

    Args:
      function: Of the state of one device of each worker, ``[W, ...]``.
      shards: How the leaves are sharded.
      state: With ``[W, ...]`` arrays of all workers.
      params: Whole leaves, or their shapes and dtypes.
    """
    places = _places_of(state, shards, params, are_whole=True)
    likes = shards.shapes_of_shards(params)
    sizes = dict(shards.sizes)

    def one(index):
        coordinates = np.unravel_index(index, tuple(sizes.values()))
        where = dict(zip(sizes, map(int, coordinates), strict=True))

        def cut(leaf, place):
            leaf = _slice_of(leaf, place.spec, sizes, where)
            return _without_shard_axis(leaf, place)

        return function(_map_places(cut, state, places), likes)

    parts = [one(index) for index in range(shards.number)]
    places = _places_of(parts[0], shards, params)

    def join(place, *leaves):
        whole = [_with_shard_axis(leaf, place) for leaf in leaves]
        return _joined(whole, place.spec, sizes)

    return jax.tree.map(join, places, *parts, is_leaf=_is_place)


def specs_of_state(state: Any, shards: _shards.Shards, params: Any) -> Any:
    """Return how a state of an optimizer is sharded inside of each worker.

    Args:
      state: Of the whole optimizer, with ``[W, ...]`` arrays of all workers.
      shards: How the leaves are sharded.
      params: Whole leaves, or their shapes and dtypes.
    """

    def is_aggregate(node):
        return isinstance(node, _aggregation.AggregateState)

    def specs(path, node):
        if not is_aggregate(node):
            return shards.spec_by_suffix(path, node)
        places = _places_of(node, shards, params, are_whole=True)
        return _map_places(lambda leaf, place: place.spec, node, places)

    return jax.tree.map_with_path(specs, state, is_leaf=is_aggregate)


def check_undeclared(updates: Any) -> None:
    """Raise where types say that leaves are sharded, and nobody declared it."""
    for name, leaf in _tree.named_leaves(updates):
        if axes := _collectives.explicit_axes_of(leaf):
            raise ValueError(
                f"`updates` leaf {name!r} is sharded over {axes}, which nobody maps: "
                "each device has to compress its own shard. Train with "
                "jaxdist.data_parallel, or wrap the optimizer: "
                "jaxdist.per_shard(tx, params)."
            )


def check_aggregation(bound: _aggregation.Aggregation) -> None:
    """Raise for what does not know shards."""
    if bound.optimizer is not None:
        raise ValueError(
            "`params` of shard_optimizer must not be sharded inside of a worker: the "
            "optimizer's state has their sharding already. Use jaxdist.aggregate."
        )
    for stage in bound.stages:
        if any(map(_joint.is_joint, stage.compressors)):
            raise ValueError(
                "`compressor` must leave each leaf alone where leaves are sharded "
                "inside of a worker; by_leaf(..., joint=True) joins several."
            )


def _is_spec(node):
    return isinstance(node, PartitionSpec)


def _check_types(bound, specs):
    """Raise where a leaf that is not sharded would count once for each device."""
    is_typed = _collectives.types_tracked(bound.axis_name)
    if not (is_typed or bound.rule.linear or all(specs)):
        raise ValueError(
            f"`rule` {bound.rule.name} looks at norms or distances, in which a leaf "
            "that is not sharded must count once: give the shard_map `check_vma=True`."
        )


def _check_mesh(axis_name, shards):
    """Raise unless the workers, and nobody else, are mapped by a mesh."""
    missing = [name for name in shards.axes if name not in _collectives.unmapped_axes()]
    if missing:
        raise ValueError(
            f"`params` are sharded over {missing[0]!r}, which must be an axis of the "
            f"mesh whose axis {axis_name!r} is mapped by jax.shard_map(..., axis_names="
            f"{set(_collectives.names_of(axis_name))}), as jaxdist.data_parallel does. "
            "With leaves of one device use jaxdist.simulate, without jaxdist.per_shard."
        )


def _init_of_shard(bound, shards, params):
    """Return the state of a device before the first step."""
    own = jax.tree.map(
        lambda like: jnp.zeros(like.shape, like.dtype), shards.shapes_of_shards(params)
    )
    with _shards.enter(shards.axes):
        return _aggregation.init_state(bound, own)


def _places_of(state, shards, params, are_whole=False):
    """Return the places of all arrays of a state: a device's, or the whole one."""
    likes, treedef = jax.tree.flatten(
        params if are_whole else shards.shapes_of_shards(params)
    )
    specs = shards.specs_like(params)

    def places_of_leaves(tree, is_own, has_residuals=False):
        """Return the places of a tree with something for each leaf."""
        worker_axes = (None,) if is_own else ()

        def place(spec, like, leaf):
            if not spec:
                return _Place(PartitionSpec(), None)
            if has_residuals and leaf.shape[1:] == tuple(like.shape):
                return _Place(PartitionSpec(*worker_axes, *spec), None)
            axes = _shards.axes_of_spec(spec)
            return _Place(PartitionSpec(*worker_axes, axes), len(worker_axes))

        return treedef.unflatten(
            [
                jax.tree.map(functools.partial(place, spec, like), node)
                for spec, like, node in zip(
                    specs, likes, treedef.flatten_up_to(tree), strict=True
                )
            ]
        )

    def own(node, has_residuals=False):
        return type(node)(places_of_leaves(node.inner_state, True, has_residuals))

    def whole(tree):
        return places_of_leaves(tree, False)

    common = jax.tree.map(lambda _: _Place(PartitionSpec(), None), state)
    return common._replace(
        uplink=own(state.uplink, has_residuals=True),
        downlink=own(state.downlink),
        estimates=type(state.estimates)(
            whole(state.estimates.whole),
            own(state.estimates.part),
            whole(state.estimates.downlink),
        ),
        rule=common.rule._replace(
            whole=whole(state.rule.whole), part=own(state.rule.part)
        ),
    )


def _map_places(function, state, places):
    """Return ``function(array, place)`` of all arrays of a state."""
    return jax.tree.map(
        lambda place, leaf: function(leaf, place), places, state, is_leaf=_is_place
    )


def _is_place(node):
    return isinstance(node, _Place)


def _slice_of(leaf, spec, sizes, where):
    """Return the shard of an array at these coordinates of a mesh."""
    for axis, entry in enumerate(spec):
        for name in _shards.names_of_entry(entry):
            leaf = jnp.split(leaf, sizes[name], axis)[where[name]]
    return leaf


def _joined(parts, spec, sizes):
    """Return an array of its shards, which are in row-major order of a mesh."""
    names = list(sizes)
    pairs = zip(np.ndindex(*sizes.values()), parts, strict=True)
    found = {tuple(zip(names, where, strict=True)): part for where, part in pairs}
    axis_of = {
        name: axis
        for axis, entry in enumerate(spec)
        for name in _shards.names_of_entry(entry)
    }
    # The last axis of an entry varies fastest, whatever its place on the mesh is.
    for name in [*(set(names) - set(axis_of)), *reversed(axis_of)]:
        rows: dict[Any, list[Any]] = {}
        for where, part in found.items():
            others = tuple(pair for pair in where if pair[0] != name)
            rows.setdefault(others, []).append(part)
        found = {
            others: jnp.concatenate(row, axis_of[name]) if name in axis_of else row[0]
            for others, row in rows.items()
        }
    return found[()]


def _without_shard_axis(leaf, place):
    return leaf if place.shard_axis is None else jnp.squeeze(leaf, place.shard_axis)


def _with_shard_axis(leaf, place):
    if place.shard_axis is None:
        return leaf
    return jnp.expand_dims(leaf, place.shard_axis)


def _num_parts(spec, rank, shards):
    """Return into how many parts each axis of an array is cut."""
    whole = (shards.number,) * rank
    parts = shards.shape_of_shard(whole, spec)
    return [all_of // part for all_of, part in zip(whole, parts, strict=True)]
