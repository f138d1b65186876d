"""Programs: the same numbers however, and however often, the compressor is run."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.testing import _run

_LEAVES = 5
STEPS = 64  # of a loop, which other properties look at too
_KEYS = 16
_TOLERANCE = 1e-5  # of float32, in units of the norm of the leaf


def transformations(setting: _run.Setting) -> str:
    """Check that jit, vmap and scan change nothing."""
    compressor, leaves = setting.compressor, setting.leaves("normal", _LEAVES)
    what = _run.describe_leaf("normal", setting.like())
    keys = _run.many_steps(setting.keys(), STEPS)
    steps = [jax.tree.map(lambda k, i=i: k[i], keys) for i in range(_LEAVES)]
    one = _run.compile_function(compressor)
    with _run.on_inputs(f"{what} under jit"):
        start = compressor.init(leaves[0])
        jitted = [
            one(leaf, start, k).seen for leaf, k in zip(leaves, steps, strict=True)
        ]
        looped, state = [], start
        for leaf, step in zip(leaves, steps, strict=True):
            _, seen, state = one(leaf, state, step)
            looped.append(seen)
    with _run.on_inputs(f"{what} without jit"):
        eager = [
            _run.round_trip(compressor, leaf, start, k).seen
            for leaf, k in zip(leaves, steps, strict=True)
        ]
    with _run.on_inputs(f"{what} under vmap"):
        first = jax.tree.map(lambda k: k[:_LEAVES], keys)
        mapped = _run.seen_leaves(compressor, leaves, first)
    with _run.on_inputs(f"{what} under scan"):
        again = leaves[jnp.arange(STEPS) % _LEAVES]
        scanned = _run.compile_steps(compressor)(start, again, keys)[0][:_LEAVES]
    _require_same(jitted, eager, f"on {what} jit changes what arrives")
    _require_same(mapped, jitted, f"on {what} vmap changes what arrives")
    _require_same(
        scanned, looped, f"on {what} scan changes what arrives over the steps"
    )
    return "jit, vmap and scan"


def _require_same(made, wanted, sentence: str) -> None:
    """Raise unless two stacks agree but for one row.

    Programs round differently, and where a number stands on the edge between two
    levels the last bit decides: that is rare, and no defect.
    """
    made, wanted = (
        np.stack([_run.exact_array(x) for x in y]).reshape(_LEAVES, -1)
        for y in (made, wanted)
    )
    differences = np.linalg.norm(made - wanted, axis=1)
    limits = _TOLERANCE * np.linalg.norm(wanted, axis=1)
    differ = np.flatnonzero(~(differences <= limits))
    _run.require_true(
        len(differ) <= 1,
        f"{sentence}: {len(differ)} of {_LEAVES} leaves differ, by up to "
        f"{differences.max():.3g}.",
    )


def determinism(setting: _run.Setting) -> str:
    """Check that the keys decide everything, and that a step's keys are used."""
    leaf = setting.leaf("normal")
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        start = setting.compressor.init(leaf)
        seen = [
            _step_result(_run.first_encoding(setting.compressor, leaf, setting.keys(i)))
            for i in range(_KEYS)
        ]
        again = _traced_again(setting.compressor, leaf, start, setting.keys(0))
    _run.require_true(
        again is None or np.array_equal(seen[0], _step_result(again), equal_nan=True),
        f"on {what} the same keys give another result when it is traced again: "
        "something random does not come from the keys.",
    )
    varies = any(not np.array_equal(seen[0], x, equal_nan=True) for x in seen)
    if setting.compressor.contract.stochastic:
        sentence = (
            f"on {what} the keys of {_KEYS} steps all give the same: the contract says "
            "`stochastic`, so either it is not, or it reuses a key of its own."
        )
        _run.require_true(varies or _is_exact(setting, leaf), sentence)
    else:
        sentence = (
            f"on {what} other keys give another result, but the contract does not say "
            "`stochastic`; without it, it gets no key of its own."
        )
        _run.require_true(not varies, sentence)
    return f"{_KEYS} steps"


def _is_exact(setting: _run.Setting, leaf: jax.Array) -> bool:
    """Whether all arrives as it is, so that nothing need be drawn."""
    seen = _run.first_encoding(setting.compressor, leaf, setting.keys()).seen
    return np.array_equal(seen, leaf)


def _traced_again(compressor, *inputs) -> _run.Trip | None:
    """Return what another trace gives; None when it is the same program."""
    fresh = jax.jit(functools.partial(_run.round_trip, compressor))
    # The same text gives the same result, and need not be compiled to see that.
    programs = (fresh, _run.compile_function(compressor))
    texts = {program.lower(*inputs).as_text() for program in programs}
    return fresh(*inputs) if len(texts) > 1 else None


def _step_result(trip: _run.Trip) -> np.ndarray:
    """Return all numbers that came of a leaf: what is seen, and the state."""
    arrays = jax.tree.leaves((trip.seen, trip.state))
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in arrays])
