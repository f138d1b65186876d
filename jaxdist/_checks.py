"""Argument checks: errors name the argument, its range, and the value that came."""

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import core


class LayoutError(ValueError):
    """What differs between workers, or does not, as types of a mapped axis say."""


def _is_traced(value: Any) -> bool:
    """Whether the value is only known when the compiled program runs."""
    return isinstance(value, core.Tracer)


def integer(name: str, value: Any, low: float, high: float = math.inf) -> int:
    """Return the static integer, or raise when it is none or out of range."""
    allowed = f"an integer >= {low}" if high == math.inf else f"in [{low}, {high}]"
    try:
        number = operator.index(value)
    except TypeError:
        hint = "" if isinstance(value, float | str) else _static_hint(name)
        raise ValueError(f"`{name}` must be {allowed}, got {value!r}.{hint}") from None
    if isinstance(value, bool) or not low <= number <= high:
        raise ValueError(f"`{name}` must be {allowed}, got {value!r}.")
    return number


def _static_hint(name: str) -> str:
    return (
        " It shapes the program, so it cannot be traced; under"
        f" optax.inject_hyperparams name it in `static_args={name!r}`."
    )


def schedule(
    name: str, value: Any, *, above: bool = False
) -> Callable[[jax.Array], jax.Array]:
    """Return a number of at least 0, or a schedule, as float32 of what it depends on.

    Args:
      name: Of the argument.
      value: What came.
      above: Leave out 0 itself.
    """
    if callable(value):
        return lambda count: jnp.asarray(value(count), jnp.float32)
    value = real(name, value, 0.0, above=above)
    return lambda count: jnp.asarray(value, jnp.float32)


def real(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
    static: bool = False,
) -> Any:
    """Return the number, or raise unless ``low <= value <= high``.

    A scalar of NumPy or JAX becomes a Python number, which any program can hold. A
    traced value passes as it is: its range is only known when the program runs.

    Args:
      name: Of the argument.
      value: What came.
      low: The least that is allowed.
      high: The most that is allowed.
      above: Leave out ``low`` itself.
      below: Leave out ``high`` itself.
      static: It shapes the program, and must not be traced.
    """
    if _is_traced(value):
        if static:
            raise ValueError(f"`{name}` must be a number.{_static_hint(name)}")
        return value
    left = "(" if above else "["
    right = ")" if below or high == math.inf else "]"
    try:
        # Python reads numbers from texts and from arrays that happen to hold one.
        is_number = not isinstance(value, str | bytes) and not np.ndim(value)
        number = float(value) if is_number else math.nan
    except (TypeError, ValueError):
        number = math.nan
    inside = (low < number if above else low <= number) and (
        number < high if below else number <= high
    )
    if isinstance(value, bool) or not inside or math.isinf(number):
        raise ValueError(
            f"`{name}` must lie in {left}{low}, {high}{right}, got {value!r}."
        )
    return value if type(value) in (int, float) else number


def one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    """Return the one of those allowed that the value is, of its type too, or raise."""
    options = tuple(allowed)
    for option in options:
        if _is_option(value, option):
            return option
    listed = ", ".join(repr(option) for option in options)
    raise ValueError(f"`{name}` must be one of {listed}, got {value!r}.")


def _is_option(value: Any, option: Any) -> bool:
    """Whether a value is an option: 4.0 is not 4, True not 1, an array neither."""
    if isinstance(option, str | None):
        return type(value) is type(option) and value == option
    try:
        return not isinstance(value, bool) and operator.index(value) == option
    except TypeError:
        return False


def flag(name: str, value: Any) -> None:
    """Raise unless the value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"`{name}` must be True or False, got {value!r}.")


def names(name: str, value: Any) -> None:
    """Raise unless the value is None, or a sequence of names."""
    is_several = isinstance(value, Sequence) and not isinstance(value, str)
    if value is not None and not (
        is_several and all(isinstance(entry, str) for entry in value)
    ):
        raise TypeError(f"`{name}` must be a sequence of names, got {value!r}.")


def function(name: str, value: Any, example: str) -> None:
    """Raise unless the value can be called; the example shows how."""
    if not callable(value):
        raise TypeError(f"`{name}` must be a function {example}, got {value!r}.")


def optimizer(name: str, value: Any) -> None:
    """Raise unless the value is a transformation of optax."""
    instance(name, value, optax.GradientTransformation, "optax.sgd(0.1)")


def mesh(value: Any) -> None:
    """Raise unless the value is a mesh, or the abstract one of a trace."""
    if not isinstance(value, jax.sharding.Mesh | jax.sharding.AbstractMesh):
        raise TypeError(
            f"`mesh` must be a mesh such as jax.make_mesh((8,), ('data',)), got "
            f"{value!r}."
        )


def floating_dtype(name: str, value: Any) -> np.dtype:
    """Return the dtype, or raise when it is none or not of floating numbers."""
    try:
        dtype = None if value is None else jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be a floating dtype such as jnp.bfloat16, got {value!r}."
        )
    return dtype


def array(name: str, value: Any) -> jax.Array:
    """Return the array, or raise when it is none."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(f"`{name}` must be an array, got {value!r}.") from None


def axis_name(value: Any, name: str = "axis_name") -> None:
    """Raise unless the value names one mapped axis or several."""
    names = value if isinstance(value, tuple) else (value,)
    are_strings = all(isinstance(axis, str) and axis for axis in names)
    if not names or not are_strings or len(set(names)) != len(names):
        raise ValueError(
            f"`{name}` must be a string or a tuple of different strings, got {value!r}."
        )


def instance(name: str, value: Any, kind: type, example: str) -> None:
    """Raise unless the value is of the type; the example shows how to make one."""
    if not isinstance(value, kind):
        raise TypeError(
            f"`{name}` must be of type {kind.__name__}, such as {example}, "
            f"got {value!r}."
        )


def own_state(value: Any, kind: type, maker: str) -> None:
    """Raise unless the value has the fields of a state.

    Containers between the optimizer and its state (flax.nnx) may replace the named
    tuple by a mapping, and drop what is empty: of those the first field is enough.

    Args:
      value: The state that came.
      kind: The named tuple that it should be, or stand for.
      maker: The transformation whose state it is, as errors call it.
    """
    fields: tuple[str, ...] = kind._fields  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, tuple):
        is_own = fields == getattr(value, "_fields", ())
    else:
        is_own = hasattr(value, fields[0])
    if not is_own:
        raise TypeError(
            f"`state` must be the {kind.__name__} that `init` of {maker} returned, got "
            f"{type(value).__name__}: is it the state of another optimizer?"
        )


def byzantine_count(rule: str, num_byzantine: int, num_workers: int, largest: int):
    """Raise unless ``num_byzantine`` is one that the rule can tolerate."""
    if largest < 0:
        raise ValueError(
            f"`{rule}` needs more workers than the {num_workers} there are, "
            "even for `num_byzantine` 0."
        )
    if num_byzantine > largest:
        raise ValueError(
            f"`num_byzantine` must lie in [0, {largest}] for {rule} of {num_workers} "
            f"workers, got {num_byzantine}."
        )


def usable_weight(weight: jax.Array) -> jax.Array:
    """Return the weight, and 0 where it is negative or not finite: who says so errs."""
    return jnp.where((weight > 0) & jnp.isfinite(weight), weight, 0)
