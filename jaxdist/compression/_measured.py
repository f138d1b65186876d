"""Measured: what a compressor achieves on the gradients of a training."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.compression import _compressor, _feedback, _per_leaf, _stored_residual


class MeasuredState(NamedTuple):
    """State of :func:`measured`: of the last step, and of all steps so far."""

    given: jax.Array  # float32, shape (); squared norm of the leaf
    wanted: jax.Array  # float32, shape (); of the leaf with what was owed
    dropped: jax.Array  # float32, shape (); of what was not sent
    nbytes: jax.Array  # uint32, shape (2,); bytes encoded so far, low and high word
    inner_state: _compressor.CompressorState  # of the wrapped compressor


class CompressionMetrics(NamedTuple):
    """What :func:`jaxdist.compression_metrics` found, over leaves and workers."""

    contraction: jax.Array  # float32; 1 - |dropped|^2 / |wanted|^2 of the last step
    residual_ratio: jax.Array  # float32; |dropped| / |gradient| of the last step
    nbytes: jax.Array  # float32; bytes of payload encoded so far
    overflow: jax.Array  # int32; elements without room in the last payloads


def measured(compressor: _compressor.Compressor) -> _compressor.Compressor:
    """Note at each step how much of the leaf arrives.

    :func:`jaxdist.compression_metrics` reads the result. Wrap the outermost compressor:
    ``measured(error_feedback(top_k(0.01)))`` knows the residual. It costs one decoding
    and three sums over the leaf at every step. Without it nothing is computed.

    Args:
      compressor: Any compressor.

    Returns:
      A compressor that sends the same, with a few numbers more in its state. Norms are
      in float32 and of finite elements only.

    Raises:
      TypeError: If ``compressor`` is none.

    Communication:
      That of ``compressor``.

    Example:
      >>> c = jaxdist.compression.measured(
      ...     jaxdist.compression.error_feedback(jaxdist.compression.top_k(density=0.5))
      ... )
      >>> _, state = jaxdist.roundtrip(c, jnp.array([2.0, 1.0]))
      >>> print(jaxdist.compression_metrics(state).contraction)
      0.8
    """
    _per_leaf.check_compressor("compressor", compressor)

    def init(leaf):
        zero = jnp.zeros_like(leaf, shape=(), dtype=jnp.float32)
        words = jnp.zeros_like(leaf, shape=(2,), dtype=jnp.uint32)
        return MeasuredState(zero, zero, zero, words, compressor.init(leaf))

    def encode(leaf, state, keys, blocks):
        payload, inner_state = compressor.encode(leaf, state.inner_state, keys, blocks)
        like = _tree.like_leaf(leaf, _tree.accumulator_dtype(leaf.dtype))
        sent = compressor.decode(payload, like, keys)
        return payload, note(leaf, sent, inner_state, state, _nbytes_of(payload))

    def note(leaf, sent, inner_state, state, nbytes):
        dropped = _dropped_share(leaf, sent, inner_state)
        return MeasuredState(
            _squared_norm(leaf),
            _squared_norm(dropped + sent),
            _squared_norm(dropped),
            _added_totals(state.nbytes, nbytes),
            inner_state,
        )

    def in_rounds(dialogue):
        def pass_on(ask):
            def ask_inner(leaf, state, keys, means):
                return ask(leaf, state.inner_state, keys, means)

            return ask_inner

        def finish(leaf, state, keys, means):
            mean, inner = dialogue.finish(leaf, state.inner_state, keys, means)
            sent = mean.astype(_tree.accumulator_dtype(leaf.dtype))
            return mean, note(leaf, sent, inner, state, _nbytes_of(means))

        return _compressor.Dialogue(tuple(map(pass_on, dialogue.rounds)), finish)

    return compressor._replace(
        init=init,
        encode=encode,
        name=f"measured({compressor.name})",
        dialogue=compressor.dialogue and in_rounds(compressor.dialogue),
        absent=_feedback.absent_inside(compressor),
    )


def compression_metrics(state: Any) -> CompressionMetrics:
    """Read what :func:`jaxdist.compression.measured` noted in an optimizer state.

    Args:
      state: Any tree with states of :func:`jaxdist.compression.measured` compressors: a
        whole optimizer state, global with the slices of all workers, or that of one
        worker inside a mapped function.

    Returns:
      The metrics over all leaves, directions and workers in the state. A contraction
      of 1 is lossless, 0 sends nothing of use, and a negative one adds error. Before
      anything was to be sent the contraction is 1, and the ratio 0.

    Raises:
      ValueError: If no compressor in the state is measured.

    Communication:
      None.

    Example:
      >>> tx = jaxdist.compress(
      ...     jaxdist.compression.measured(jaxdist.compression.scaled_sign())
      ... )
      >>> updates = jnp.array([3.0, -1.0])
      >>> _, state = tx.update(updates, tx.init(updates))
      >>> metrics = jaxdist.compression_metrics(state)
      >>> print(metrics.nbytes, round(float(metrics.residual_ratio), 3))
      5.0 0.447
    """
    nodes = _tree.nodes_of(state, MeasuredState)
    if not nodes:
        raise ValueError(
            "`state` holds nothing to read: wrap the compressor, as in "
            "measured(error_feedback(top_k(0.01)))."
        )
    return _metrics_of(nodes)


# One program: states on many devices would make every operation wait for all of them.
@jax.jit
def _metrics_of(nodes: list[MeasuredState]) -> CompressionMetrics:
    """Return the metrics over all nodes."""
    given = _tree_total(node.given for node in nodes)
    wanted = _tree_total(node.wanted for node in nodes)
    dropped = _tree_total(node.dropped for node in nodes)
    low = _tree_total(node.nbytes[..., 0].astype(jnp.float32) for node in nodes)
    high = _tree_total(node.nbytes[..., 1].astype(jnp.float32) for node in nodes)
    overflow = [
        jnp.sum(leaf)
        for path, leaf in jax.tree.leaves_with_path([n.inner_state for n in nodes])
        if _tree.path_name(path).split("/")[-1] == "overflow"
    ]
    return CompressionMetrics(
        1.0 - _safe_ratio(dropped, wanted),
        jnp.sqrt(_safe_ratio(dropped, given)),
        low + high * 2.0**32,
        sum(overflow, jnp.zeros((), jnp.int32)),
    )


def _dropped_share(leaf: jax.Array, sent: jax.Array, inner_state: Any) -> jax.Array:
    """Return the part of what was wanted that receivers did not get."""
    if hasattr(inner_state, "residual"):
        return _stored_residual.load_residual(inner_state.residual, sent.dtype)
    if hasattr(inner_state, "estimate"):
        has_momentum = isinstance(inner_state.momentum, jax.Array)
        target = inner_state.momentum if has_momentum else leaf.astype(sent.dtype)
        return target - inner_state.estimate
    return leaf.astype(sent.dtype) - sent


def _squared_norm(leaf: jax.Array) -> jax.Array:
    """Return the squared norm of the finite elements: no NaN may stay in a state."""
    return jnp.sum(jnp.where(jnp.isfinite(leaf), leaf.astype(jnp.float32), 0) ** 2)


def _nbytes_of(payload: Any) -> int:
    return sum(map(_tree.leaf_nbytes, jax.tree.leaves(payload)))


def _added_totals(words: jax.Array, nbytes: int) -> jax.Array:
    """Add to a number of two words: float32 would stop counting at 16 MB per step."""
    low = words[0] + jnp.uint32(nbytes % 2**32)
    carry = (low < words[0]).astype(jnp.uint32)
    return jnp.stack([low, words[1] + carry + jnp.uint32(nbytes // 2**32)])


def _tree_total(values: Any) -> jax.Array:
    return sum((jnp.sum(value) for value in values), jnp.zeros((), jnp.float32))


def _safe_ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    return jnp.where(whole == 0, 0.0, part / jnp.where(whole == 0, 1.0, whole))
