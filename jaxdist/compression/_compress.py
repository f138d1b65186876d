"""Compress: the local transformation, for pipelines without a network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _leafwise, _random, _tree, _types


class CompressState(NamedTuple):
    """State of :func:`compress`."""

    count: jax.Array  # int32, shape ()
    key: jax.Array  # typed key, shape ()
    compressor_state: Any  # tree of the leaves' compressor states


def compress(
    compressor: _types.Compressor | _types.LeafPolicy, key: int | jax.Array = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Replace updates by what the others would see of them.

    .. math:: u_t = \mathrm{decode}(\mathrm{encode}(g_t))

    Nothing travels: this is for single-device studies of what compression does to an
    optimizer. Between workers use :func:`aggregate`. When the updates differ between
    workers wrap it: ``per_worker("data", compress(...))``.

    Args:
      compressor: A compressor for every leaf, or a policy from :func:`by_leaf`.
      key: Seed or key of the stochastic compressors.

    Returns:
      A transformation that keeps structure, shapes and dtypes.

    Raises:
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     optax.sgd(0.1), jaxdist.compress(jaxdist.top_k(density=0.5))
      ... )
      >>> params = jnp.zeros(4)
      >>> updates, _ = tx.update(jnp.array([4.0, -1, 2, 0]), tx.init(params), params)
      >>> print(updates)
      [-0.4  0.  -0.2  0. ]
    """
    _leafwise.check("compressor", compressor, policies=True)
    key = _random.as_key(key)

    def init(params):
        return CompressState(
            jnp.zeros((), jnp.int32), key, _leafwise.init(compressor, params)
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        names, leaves, treedef = _tree.flatten(updates)
        step = _random.step_key(state.key, state.count)
        compressors = [
            _leafwise.select(compressor, name, leaf)
            for name, leaf in zip(names, leaves, strict=True)
        ]
        states = _leafwise.states_of(compressors, names, leaves, state.compressor_state)
        seen = []
        for i, (chosen, leaf) in enumerate(zip(compressors, leaves, strict=True)):
            keys = _random.keys_of(_random.leaf_key(step, i), 0)
            payload, states[i] = chosen.encode(leaf, states[i], keys, 1)
            seen.append(chosen.decode(payload, _tree.like(leaf), keys))
        return treedef.unflatten(seen), CompressState(
            _tree.next_count(state.count), state.key, treedef.unflatten(states)
        )

    return optax.GradientTransformationExtraArgs(init, update)
