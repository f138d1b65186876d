"""Values: zeros, the edges of the range, and what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.testing import _inputs, _run, _shapes

_NARROW_KEYS = 8


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
    for dtype in _shapes.NARROW:
        what = _run.describe_leaf("zero", setting.like(dtype))
        leaves = np.zeros((_NARROW_KEYS, *setting.shape), dtype)
        keys = _run.many_steps(setting.keys(), _NARROW_KEYS)
        with _run.on_inputs(what):
            seen = _run.seen_narrow(setting.compressor, leaves, keys)
        _run.require_true(not seen.any(), f"on {what} not all that arrives is zero.")
    return f"{_num_keys(setting)} keys"


def _require_zeros_kept(setting: _run.Setting, blocks: int) -> None:
    """Raise unless the elements of a sparse leaf that are zero arrive as zero."""
    num = _num_keys(setting)
    leaves = np.asarray(setting.leaves("sparse", num))
    what = _run.describe_leaf("sparse", setting.like(), blocks)
    with _run.on_inputs(what):
        keys = _run.many_steps(setting.keys(), num)
        seen = _run.seen_leaves(setting.compressor, leaves, keys, blocks)
    _run.require_true(
        not seen[leaves == 0].any(),
        f"on {what} not all elements that are zero arrive as zero, which "
        "`Contract(keeps_zeros=True)` promises.",
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
    num = _num_keys(setting)
    leaves = np.repeat(np.asarray(leaf)[None], num, axis=0)
    keys = _run.many_steps(setting.keys(), num)
    return _run.seen_leaves(setting.compressor, leaves, keys, blocks).reshape(num, -1)


def _num_keys(setting: _run.Setting) -> int:
    """Return how many keys are tried: as many as are encoded at once anyway."""
    return _run.batch_size(setting.size)
