"""Per shard: an optimizer whose workers are several devices each, in your own loop.

What :func:`jaxdist.data_parallel` finds out from the parameters, said by hand.
"""

from typing import Any

import optax

from jaxdist import _checks, _tree
from jaxdist.workers import _shards


def per_shard(
    tx: optax.GradientTransformation, params: Any
) -> optax.GradientTransformationExtraArgs:
    """Let each device of a worker aggregate its own shards of the leaves.

    For loops of your own in which XLA shards the parameters over axes of the mesh that
    nobody maps, as inside of a pod; :func:`data_parallel` does it without. In such a
    loop ``jax.shard_map(..., axis_names={"dcn"})`` maps the workers' axis alone.

    Args:
      tx: Optimizer, or a part of one, with :func:`aggregate` in it.
      params: Parameters as they will be sharded: arrays, or shapes and dtypes, with a
        ``NamedSharding``. What has none is not sharded.

    Returns:
      A transformation with the updates of ``tx``. Compressors in :func:`aggregate` take
      each device's shard for a leaf; distances and norms are those of the whole
      gradient. Residuals have the shape and the sharding of their leaves, and what
      else differs between shards has an axis of them.

    Raises:
      TypeError: If ``tx`` is no transformation.
      ValueError: If no leaf of ``params`` is sharded; in ``update``, if the axes over
        which leaves are sharded are none of the mesh, or are mapped.

    Communication:
      That of ``tx`` for one shard, from each device: a pod sends each element once.

    Example:
      >>> mesh = jax.sharding.AbstractMesh((2, 4), ("dcn", "fsdp"))
      >>> sharding = jax.NamedSharding(mesh, jax.P("fsdp"))
      >>> params = jax.ShapeDtypeStruct((16, 8), jnp.float32, sharding=sharding)
      >>> low_rank = jaxdist.compression.power_sgd(1)
      >>> memory = jaxdist.compression.error_feedback(low_rank)
      >>> tx = jaxdist.aggregate("dcn", compressor=memory)
      >>> state = jax.eval_shape(jaxdist.per_shard(tx, params).init, params)
      >>> print([leaf.shape for leaf in jax.tree.leaves(state.uplink)])
      [(1, 16, 8), (1, 4, 8, 1)]
    """
    _checks.optimizer("tx", tx)
    shards = _shards.shards_of(params)
    if shards is None:
        raise ValueError(
            "`params` must have leaves that are sharded over an axis of several "
            f"devices, got {_placements(params)}. Without such an axis use `tx` as it "
            "is."
        )
    inner = optax.with_extra_args_support(tx)

    def init(params):
        with _shards.declare(shards):
            return _shards.place_like_leaves(inner.init(params))

    def update(updates, state, params=None, **extra_args):
        with _shards.declare(shards):
            return inner.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(init, update)


def _placements(params: Any) -> str:
    """Say where the first leaves are."""
    found = [
        f"{name!r}: {getattr(leaf, 'sharding', None)}"
        for name, leaf in _tree.named_leaves(params)
    ]
    return ", ".join(found[:3]) or "no leaf"
