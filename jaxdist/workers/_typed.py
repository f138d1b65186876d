"""Typed: trace what a worker does where types say what differs between workers."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from jaxdist import _tree
from jaxdist.workers import _shards


def trace_typed(
    function: Callable[..., Any], sizes: Mapping[str, int], *args: Any
) -> None:
    """Trace a function under mapped axes whose types are tracked; run nothing.

    Args:
      function: Of one worker; what it returns is dropped.
      sizes: How many workers each axis has. No devices are needed.
      *args: Its arguments, or their shapes and dtypes, equal on all workers.
    """

    def worker(*args):
        function(*args)
        return ()

    shards = _shards.declared()
    all_sizes = {**sizes, **(dict(shards.sizes) if shards else {})}
    types = (AxisType.Auto,) * len(all_sizes)
    mapped = jax.shard_map(
        worker,
        mesh=AbstractMesh(tuple(all_sizes.values()), tuple(all_sizes), types),
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
        axis_names=set(sizes),
    )
    # Where arrays are says nothing about a mesh that does not exist.
    jax.eval_shape(
        mapped,
        *jax.tree.map(
            lambda leaf: _tree.like_leaf(leaf) if hasattr(leaf, "shape") else leaf, args
        ),
    )
