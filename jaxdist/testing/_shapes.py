"""Shapes: of what comes back, and of the state from step to step."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _tree
from jaxdist.testing import _inputs, _run

_SHAPES = ((), (1,), (97,), (13, 7), (3, 3, 2, 5))
NARROW = (jnp.bfloat16, jnp.float16)
_STEPS = 3


def shape_and_dtype(setting: _run.Setting) -> str:
    """Check that what comes back is like the leaf, and finite."""
    shapes = dict.fromkeys([setting.shape, *_SHAPES])
    cases = [(shape, jnp.float32, 1) for shape in shapes]
    for dtype, blocks in itertools.product((jnp.float32, *NARROW), setting.blocks):
        cases.append((setting.shape, dtype, blocks))
    for shape, dtype, blocks in dict.fromkeys(cases):
        _require_closed(setting, jax.ShapeDtypeStruct(shape, dtype), blocks)
    for shape in (setting.shape, (), _SHAPES[-1]):
        _require_finite(setting, shape)
    for dtype in NARROW:
        _require_narrow_finite(setting, dtype)
    return f"{len(shapes)} shapes, {1 + len(NARROW)} dtypes"


def _require_closed(setting: _run.Setting, leaf: Any, blocks: int) -> None:
    """Raise unless a leaf comes back in its shape, and in its dtype or a wider one."""
    compressor, keys = setting.compressor, setting.keys()
    wide = _tree.like_leaf(leaf, _tree.accumulator_dtype(leaf.dtype))

    def decoded(leaf, keys):
        payload, _ = compressor.encode(leaf, compressor.init(leaf), keys, blocks)
        return [compressor.decode(payload, like, keys) for like in (leaf, wide)]

    what = _run.describe_leaf("normal", leaf, blocks)
    with _run.on_inputs(what):
        made = jax.eval_shape(decoded, leaf, keys)
    for seen, like in zip(made, (leaf, wide), strict=True):
        _run.require_true(
            (seen.shape, seen.dtype) == (like.shape, like.dtype),
            f"on {what} `decode` returns {seen.dtype}{list(seen.shape)} for `like` "
            f"{like.dtype}{list(like.shape)}.",
        )


def _require_finite(setting: _run.Setting, shape: tuple[int, ...]) -> None:
    """Raise unless what comes back of an ordinary leaf is finite."""
    leaf = jnp.asarray(_inputs.draw_leaf("normal", setting.rng(0), 1, shape)[0])
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        variant = shape != setting.shape
        seen = _run.first_encoding(
            setting.compressor, leaf, setting.keys(), variant=variant
        ).seen
    finite = _run.is_finite(seen)
    _run.require_true(finite, f"on {what} `decode` returns values that are not finite.")


def _require_narrow_finite(setting: _run.Setting, dtype: Any) -> None:
    """Raise unless what comes back of an ordinary narrow leaf is finite."""
    leaves = np.asarray(setting.leaves("normal", 1, dtype))
    what = _run.describe_leaf("normal", leaves[0])
    with _run.on_inputs(what):
        keys = _run.many_steps(setting.keys(), 1)
        seen = _run.seen_narrow(setting.compressor, leaves, keys)
    finite = np.isfinite(seen).all()
    _run.require_true(finite, f"on {what} `decode` returns values that are not finite.")


def state(setting: _run.Setting) -> str:
    """Check that the state keeps its structure, shapes and dtypes, and is finite."""
    compressor = setting.compressor
    for dtype, blocks in itertools.product((jnp.float32, *NARROW), setting.blocks):
        leaf = setting.like(dtype)

        def step(leaf, state, keys, blocks=blocks):
            return compressor.encode(leaf, state, keys, blocks)[1]

        what = _run.describe_leaf("normal", leaf, blocks)
        with _run.on_inputs(what):
            start = jax.eval_shape(compressor.init, leaf)
            after = jax.eval_shape(step, leaf, start, setting.keys())
        _require_same(start, after, what)
    _require_steps(setting)
    return f"{_STEPS} steps"


def _require_steps(setting: _run.Setting) -> None:
    """Raise unless the state that is made stays what it is, and finite."""
    leaf = setting.leaf("normal")
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        start = current = setting.compressor.init(leaf)
        for count in range(_STEPS):
            keys = setting.keys(count)
            current = _run.compile_function(setting.compressor)(
                leaf, current, keys
            ).state
    _require_same(start, current, what)
    finite = _run.is_finite(current)
    _run.require_true(
        finite, f"on {what} the state is not finite after {_STEPS} steps."
    )


def _require_same(start: Any, after: Any, what: str) -> None:
    """Raise unless two states agree in structure, shapes and dtypes."""
    structures = [jax.tree.structure(tree) for tree in (start, after)]
    _run.require_true(
        structures[0] == structures[1],
        f"on {what} `init` makes a state {structures[0]}, but `encode` returns "
        f"{structures[1]}.",
    )
    before = jax.tree.leaves_with_path(start)
    for (path, old), new in zip(before, jax.tree.leaves(after), strict=True):
        shapes = [f"{x.dtype}{list(x.shape)}" for x in (old, new)]
        _run.require_true(
            shapes[0] == shapes[1],
            f"on {what} the state{jax.tree_util.keystr(path)} is {shapes[0]} from "
            f"`init`, but {shapes[1]} from `encode`.",
        )
