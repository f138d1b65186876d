"""Values: zeros, the edges of the range, and what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.testing import _inputs, _run

_KEYS = 8


def zeros(setting: _run.Setting) -> str:
    """Check that leaves, and where promised elements, of zeros come back as zeros."""
    for blocks in setting.blocks:
        leaf = jnp.zeros(setting.shape, jnp.float32)
        what = _run.describe_leaf("zero", leaf, blocks)
        with _run.on_inputs(what):
            seen = _of_several_keys(setting, leaf, blocks)
        _run.require_true(not seen.any(), f"on {what} not all that arrives is zero.")
        if setting.compressor.contract.keeps_zeros:
            _require_zeros_kept(setting, blocks)
    narrow = jnp.zeros(setting.shape, jnp.bfloat16)
    what = _run.describe_leaf("zero", narrow)
    with _run.on_inputs(what):
        seen = _run.first_encoding(
            setting.compressor, narrow, setting.keys(), variant=True
        ).seen
    arrives = _run.exact_array(seen).any()
    _run.require_true(not arrives, f"on {what} not all that arrives is zero.")
    return f"{_KEYS} keys"


def _require_zeros_kept(setting: _run.Setting, blocks: int) -> None:
    """Raise unless the elements of a sparse leaf that are zero arrive as zero."""
    leaf = setting.leaf("sparse")
    what = _run.describe_leaf("sparse", leaf, blocks)
    with _run.on_inputs(what):
        seen = _of_several_keys(setting, leaf, blocks)
    zero = np.asarray(leaf).reshape(1, -1) == 0
    _run.require_true(
        not seen[np.broadcast_to(zero, seen.shape)].any(),
        f"on {what} not all elements that are zero arrive as zero, but the contract "
        "says `keeps_zeros`.",
    )


def extremes(setting: _run.Setting) -> str:
    """Check that what is finite stays finite, from denormal to huge."""
    for blocks in setting.blocks:
        for kind in _inputs.EXTREME:
            leaf = setting.leaf(kind)
            what = _run.describe_leaf(kind, leaf, blocks)
            with _run.on_inputs(what):
                seen = _of_several_keys(setting, leaf, blocks)
            finite = np.isfinite(seen).all()
            _run.require_true(finite, f"on {what} not all that arrives is finite.")
    return f"{len(_inputs.EXTREME)} kinds of leaves"


def not_finite(setting: _run.Setting) -> str:
    """Check that what is not finite arrives as it is or not at all; the state heals."""
    values = (jnp.nan, jnp.inf, -jnp.inf)
    place = setting.size // 3
    for blocks in setting.blocks:
        for value in values:
            flat = setting.leaf("normal").reshape(-1).at[place].set(value)
            leaf = flat.reshape(setting.shape)
            what = (
                f"{_run.describe_leaf('normal', leaf, blocks)} with {value} at {place}"
            )
            with _run.on_inputs(what):
                seen = _of_several_keys(setting, leaf, blocks)[:, place]
                made = _run.first_encoding(
                    setting.compressor, leaf, setting.keys(), blocks
                )
            looks_finite = np.isfinite(seen) & (seen != 0)
            _run.require_true(
                not looks_finite.any(),
                f"on {what} that element arrives as {seen[looks_finite][:1]}; it must "
                "not look finite: send it as it is, or not at all.",
            )
            finite = _run.is_finite(made.state)
            _run.require_true(finite, f"on {what} the new state is not finite.")
    return "NaN, inf and -inf"


def _of_several_keys(setting: _run.Setting, leaf: jax.Array, blocks: int) -> np.ndarray:
    """Return ``[keys, size]``, what arrives of one leaf."""
    leaves = np.repeat(np.asarray(leaf)[None], _KEYS, axis=0)
    keys = _run.many_steps(setting.keys(), _KEYS)
    return _run.seen_leaves(setting.compressor, leaves, keys, blocks).reshape(_KEYS, -1)
