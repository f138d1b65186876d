"""Agreement: what the payloads of several workers have in common."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.compression import _compressor
from jaxdist.testing import _run

_WORKERS = 3
_LEAVES = 4
_DRAWS = 512  # with keys of their own: an element is kept if it ever arrives
_ALONE = 61  # most elements that are sent alone
_OWN_KEYS = 8  # with which each of them is sent


def linearity(setting: _run.Setting) -> str:
    """Check that decoding the mean payload gives the mean of what was sent."""
    compressor = setting.compressor
    leaves = setting.leaves("normal", _WORKERS)
    workers = [setting.keys(0, worker=worker) for worker in range(_WORKERS)]
    what = f"{_WORKERS} normal leaves of {leaves.dtype}{list(setting.shape)}"
    with _run.on_inputs(what):
        sent = [
            _run.first_encoding(compressor, leaf, keys)
            for leaf, keys in zip(leaves, workers, strict=True)
        ]
        payloads = [made.payload for made in sent]
        _require_floats(payloads[0], what)
        mean = jax.tree.map(_mean_payload, *payloads)
        decoded = compressor.decode(mean, setting.like(), workers[0])
    expected = np.mean([_run.exact_array(made.seen) for made in sent], axis=0)
    epsilon = max(float(jnp.finfo(x.dtype).eps) for x in jax.tree.leaves(mean))
    difference = float(np.abs(_run.exact_array(decoded) - expected).max())
    scale = max(float(np.abs(_run.exact_array(made.seen)).max()) for made in sent)
    _run.require_true(
        difference <= 8 * epsilon * scale,
        f"on {what} the mean payload decodes to what differs by up to {difference:.3g} "
        f"from the mean of what they decode to. The workers share `keys.common`, and "
        "not `keys.own`.",
    )
    return f"{_WORKERS} workers"


def _require_floats(payload: _compressor.Payload, what: str) -> None:
    """Raise unless every array of the payload can be averaged."""
    for array in jax.tree.leaves(payload):
        _run.require_true(
            jnp.issubdtype(array.dtype, jnp.inexact),
            f"on {what} the payload holds {array.dtype}{list(array.shape)}, which has "
            "no mean.",
        )


def _mean_payload(*arrays: jax.Array) -> jax.Array:
    total = functools.reduce(operator.add, [x.astype(jnp.float32) for x in arrays])
    return (total / len(arrays)).astype(arrays[0].dtype)


def alignment(setting: _run.Setting) -> str:
    """Check that which elements are kept depends on the common key alone."""
    if setting.compressor.incremental:
        return "receivers compare sums of increments, which are dense"
    _check_own_keys(setting)
    _check_values(setting)
    return f"{setting.size} elements, {_LEAVES} leaves"


def _arrived_leaf(setting: _run.Setting, leaves: np.ndarray, num: int) -> np.ndarray:
    """Return ``[leaves, num, size]``: what arrives of each leaf from each worker."""
    workers = np.tile(np.arange(num), len(leaves))
    keys = jax.tree.map(lambda k: k[workers], _run.many_workers(setting.keys(), num))
    repeated = np.repeat(leaves, num, axis=0)
    seen = _run.seen_leaves(setting.compressor, repeated, keys)
    return seen.reshape(len(leaves), num, -1) != 0


def _check_own_keys(setting: _run.Setting) -> None:
    """Raise unless an element that is alone arrives from all workers, or from none."""
    places = np.unique(np.linspace(0, setting.size - 1, _ALONE).round().astype(int))
    alone = np.eye(setting.size, dtype=np.float32)[places]
    what = f"one-hot leaves of float32{list(setting.shape)}"
    with _run.on_inputs(what):
        rows = _arrived_leaf(setting, alone.reshape(-1, *setting.shape), _OWN_KEYS)
    arrives = rows[np.arange(len(places)), :, places]
    mixed = places[arrives.any(axis=1) & ~arrives.all(axis=1)]
    _run.require_true(
        not mixed.size,
        f"on {what} element {mixed[:1]} arrives from some workers and not from others "
        "of the same step: which elements are kept must depend on `keys.common`, not "
        "on `keys.own`.",
    )


def _check_values(setting: _run.Setting) -> None:
    """Raise unless the same elements of all leaves arrive, sooner or later."""
    leaves = np.asarray(setting.leaves("flat", _LEAVES))
    what = f"{_LEAVES} flat leaves of float32{list(setting.shape)}"
    with _run.on_inputs(what):
        ever = _arrived_leaf(setting, leaves, _DRAWS).any(axis=1)
    mixed = np.flatnonzero(ever.any(axis=0) & ~ever.all(axis=0))
    _run.require_true(
        not mixed.size,
        f"on {what}, all nonzero, element {mixed[:1]} arrives of one leaf and never of "
        "another: which elements are kept depends on their values, so workers do not "
        "keep the same.",
    )
