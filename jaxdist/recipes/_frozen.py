"""Frozen: which updates are zero whatever the gradients are.

`optax.set_to_zero` makes its zeros like the gradient, with the gradient's type, so that
they seem to differ between workers. The traced program says that they do not.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core

# The result is zero if this operand is, if one of them is, or if all of them are.
_OF_FIRST = {"broadcast_in_dim", "convert_element_type", "copy", "neg", "pvary"}
_OF_FIRST |= {"reshape", "squeeze", "stop_gradient"}
_OF_ANY = {"mul"}
_OF_ALL = {"add", "add_any", "concatenate", "max", "min", "sub"}


def always_zero(function: Callable[..., Any], *args: Any) -> Any:
    """Return the tree of ``function``'s result: whether each leaf is zero for sure.

    Args:
      function: Traced once more for this.
      *args: Its arguments, or their shapes and dtypes.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    treedef = jax.tree.structure(shapes)
    return treedef.unflatten(_zero_results(closed.jaxpr, set()))


def _zero_results(jaxpr: core.Jaxpr, zeros: set[Any]) -> list[bool]:
    """Return which results are zero, given the variables that are."""

    def is_zero(var):
        if isinstance(var, core.Literal):
            return not np.any(np.asarray(var.val))
        return var in zeros

    for equation in jaxpr.eqns:
        found = _zero_outputs(equation, [is_zero(var) for var in equation.invars])
        zeros.update(v for v, zero in zip(equation.outvars, found, strict=True) if zero)
    return [is_zero(var) for var in jaxpr.outvars]


def _zero_outputs(equation: core.JaxprEqn, operands: list[bool]) -> list[bool]:
    """Return which outputs of an equation are zero, given which operands are."""
    name = equation.primitive.name
    inner = equation.params.get("jaxpr")
    if name in ("jit", "pjit") and inner is not None:
        inside = zip(inner.jaxpr.invars, operands, strict=True)
        return _zero_results(inner.jaxpr, {var for var, zero in inside if zero})
    zero = (
        (name in _OF_FIRST and operands[0])
        or (name in _OF_ANY and any(operands))
        or (name in _OF_ALL and all(operands))
        or (name == "select_n" and all(operands[1:]))
    )
    return [bool(zero)] * len(equation.outvars)
