"""Compress: the local transformation, for pipelines without a network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random, _tree
from jaxdist.compression import _compressor, _joint, _per_leaf, _stages


class CompressState(NamedTuple):
    """State of :func:`compress`."""

    count: jax.Array  # int32, shape ()
    key: _random.Stream | tuple[()]  # () where nothing is drawn
    compressor_state: Any  # tree of the leaves' compressor states
    estimates: Any  # tree of [...], what incremental compressors sent; () for others


def compress(
    compressor: _compressor.AnyCompressor, key: int | jax.Array = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Replace updates by what other workers would receive.

    .. math:: u_t = \mathrm{decode}(\mathrm{encode}(g_t))

    Nothing travels. Use it to study on a single device what compression does to an
    optimizer. Between workers use :func:`aggregate`. When the updates differ between
    workers, write ``per_worker("data", compress(...))``.

    Args:
      compressor: A compressor for every leaf, or a policy from
        :func:`jaxdist.compression.by_leaf` or :func:`jaxdist.compression.by_step`.
      key: Seed or key of the stochastic compressors. Two in one chain draw alike unless
        they have different keys; :func:`aggregate` draws otherwise in any case.

    Returns:
      A transformation that keeps structure, shapes and dtypes.

    Raises:
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     optax.sgd(0.1), jaxdist.compress(jaxdist.compression.top_k(density=0.5))
      ... )
      >>> params = jnp.zeros(4)
      >>> updates, _ = tx.update(jnp.array([4.0, -1, 2, 0]), tx.init(params), params)
      >>> print(updates)
      [-0.4  0.  -0.2  0. ]
    """
    _per_leaf.check_compressor("compressor", compressor, policies=True, steps=True)
    stream = _random.stream_if(_compressor.may_draw(compressor), key, "compress")
    stages = _stages.split_stages(compressor)

    def init(params):
        _tree.check_arrays("params", params)
        return _stages.init_stages(stages, init_stage, params)

    def init_stage(compressor, params):
        _per_leaf.check_patterns(compressor, params)
        _per_leaf.check_dtypes(compressor, "params", params)
        params, _, policy_of = _joint.join_leaves(compressor, params)
        compressor = policy_of(compressor)

        def init_estimate(path, leaf):
            chosen = _per_leaf.select_compressor(
                compressor, _tree.path_name(path), leaf
            )
            if not chosen.incremental:
                return ()
            return _tree.wide_zeros(leaf)

        return CompressState(
            jnp.zeros((), jnp.int32),
            stream,
            _per_leaf.init_states(compressor, params),
            jax.tree.map_with_path(init_estimate, params),
        )

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, CompressState, "compress")
        _tree.check_arrays("updates", updates)
        return _stages.run_stage(stages, _compress_once, state.count, updates, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _compress_once(compressor, updates, state):
    """Compress every leaf with its compressor, and decode it again."""
    _per_leaf.check_dtypes(compressor, "updates", updates)
    updates, unbundle, policy_of = _joint.join_leaves(compressor, updates)
    names, leaves, treedef = _tree.flatten_named(updates)
    step = _random.step_key(state.key, state.count)
    compressors = [
        _per_leaf.select_compressor(policy_of(compressor), name, leaf)
        for name, leaf in zip(names, leaves, strict=True)
    ]
    states = _per_leaf.find_states(compressors, names, leaves, state.compressor_state)
    likes = [
        _tree.like_leaf(leaf, _tree.accumulator_dtype(leaf.dtype))
        if chosen.incremental
        else ()
        for chosen, leaf in zip(compressors, leaves, strict=True)
    ]
    estimates = _per_leaf.find_arrays(names, likes, state.estimates)
    seen = []
    for i, (chosen, leaf) in enumerate(zip(compressors, leaves, strict=True)):
        named, draws = _random.named_key(step, names[i]), chosen.contract.stochastic
        keys = _random.keys_of(named, 0, draws)
        payload, states[i] = chosen.encode(leaf, states[i], keys, 1)
        if chosen.incremental:
            change = chosen.decode(payload, likes[i], keys)
            estimates[i] = _tree.add_finite(estimates[i], change)
            seen.append(estimates[i].astype(leaf.dtype))
        else:
            seen.append(chosen.decode(payload, _tree.like_leaf(leaf), keys))
    return unbundle(treedef.unflatten(seen)), CompressState(
        _tree.next_count(state.count),
        state.key,
        treedef.unflatten(states),
        treedef.unflatten(estimates),
    )
