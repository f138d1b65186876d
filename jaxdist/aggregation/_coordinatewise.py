"""Coordinate-wise: whether an optimizer does the same with parts as with whole leaves.

Its step is traced for both. Where a value of one coordinate depends on another, as in
norms, or where the programs differ, as with a mask that asks for shapes, it does not.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend import core

from jaxdist import _tree

# These keep the shape of what they are given and yet move or mix its elements.
_MIXING = {"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort", "rev"}
_MIXING |= {"fft", "approx_top_k", "triangular_solve", "cholesky", "dot_general"}


def check_coordinatewise(
    inner: optax.GradientTransformation, params: Any, parts: Any
) -> None:
    """Raise unless each coordinate of the updates depends on its own values alone.

    Args:
      inner: The optimizer.
      params: Whole leaves, or their shapes and dtypes.
      parts: Of the same rank, or their shapes and dtypes.
    """
    of_whole, of_parts = (_trace_step(inner, tree) for tree in (params, parts))
    for equation in _equations(of_whole):
        if _mixes(equation):
            raise ValueError(
                "`inner` must treat every coordinate alike, since each worker has only "
                "parts of the leaves, but it mixes the elements of a leaf (by "
                f"{equation.primitive.name!r}). To clip the aggregated gradient, use "
                "`max_norm`; an optimizer that needs norms or shapes of whole leaves "
                "(LAMB, Adafactor, Muon, noise) belongs after jaxdist.aggregate."
            )
    if _outline(of_whole) != _outline(of_parts):
        raise ValueError(
            "`inner` must not look at shapes of leaves, since each worker has only "
            "parts of them: it takes another step for parts than for whole leaves. "
            "Make masks and labels from the whole parameters, for example "
            "mask=jax.tree.map(lambda p: p.shape[-1] > 1, params)."
        )


def _trace_step(inner, tree):
    """Return the program of a step on leaves of these shapes."""

    def step(params):
        inner_tx = optax.with_extra_args_support(inner)
        state = inner_tx.init(params)
        return inner_tx.update(params, state, params, value=jnp.zeros(()))

    return jax.make_jaxpr(step)(jax.tree.map(_tree.like_leaf, tree)).jaxpr


def _equations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """Yield all equations, those of functions inside too."""
    for equation in jaxpr.eqns:
        inside = list(core.jaxprs_in_params(equation.params))
        if not inside:
            yield equation
        for inner in inside:
            yield from _equations(inner)


def _mixes(equation: core.JaxprEqn) -> bool:
    """Whether an element of a result may depend on others than that of its place."""
    operands, results = map(_shapes, (equation.invars, equation.outvars))
    name = equation.primitive.name
    if not operands:
        return bool(results) and name != "broadcast_in_dim"
    return operands != results or len(operands) > 1 or name in _MIXING


def _shapes(variables: Sequence[Any]) -> set[tuple[int, ...]]:
    """Return the shapes of those that are more than one number."""
    shapes = (getattr(variable.aval, "shape", ()) for variable in variables)
    return {shape for shape in shapes if shape}


def _outline(jaxpr: core.Jaxpr) -> list[Any]:
    """Return what a program does, but for shapes."""

    def numbers(equation):
        literals = (v for v in equation.invars if isinstance(v, core.Literal))
        return [np.asarray(literal.val).tolist() for literal in literals]

    return [(e.primitive.name, numbers(e)) for e in _equations(jaxpr)]
