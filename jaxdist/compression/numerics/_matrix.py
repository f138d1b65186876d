"""Leaves as matrices: which axes are rows, which are columns, and which are many."""

import dataclasses
import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class MatrixAxes:
    """How a leaf of more than two axes is one matrix or many.

    With ``rows`` and ``columns`` all other axes are batch axes, as in optax's Muon.
    With one of the two, the other takes all axes that are left. With neither, what is
    left is cut in two where the factors of a matrix have the fewest elements: an
    attention kernel of 768 x 12 x 64 into 768 x (12 x 64), a convolution mostly before
    its last axis.

    Attributes:
      batch: Axes, or the one, along which matrices are stacked, each with factors of
        its own: 0 for layers that are scanned. None for none.
      rows: Axes of the rows.
      columns: Axes of the columns.

    Raises:
      ValueError: If an axis is named twice or is no integer; when applied, if a leaf
        has no such axis.

    Example:
      >>> layers = jaxdist.compression.power_sgd(
      ...     rank=4, axes=jaxdist.compression.MatrixAxes(batch=0)
      ... )
      >>> policy = jaxdist.compression.by_leaf(
      ...     jaxdist.compression.power_sgd(rank=4), {"layers/*": layers}
      ... )
    """

    batch: int | tuple[int, ...] | None = None
    rows: int | tuple[int, ...] | None = None
    columns: int | tuple[int, ...] | None = None

    def __post_init__(self):
        """Check the axes, and hold them as tuples."""
        named: list[int] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                axes = _axis_tuple(field.name, value)
                object.__setattr__(self, field.name, axes)
                named += axes
        if len(set(named)) != len(named):
            raise ValueError(f"`axes` must name each axis once, got {self}.")

    def __repr__(self):
        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        shown = (f"{name}={axes}" for name, axes in fields if axes is not None)
        return f"MatrixAxes({', '.join(shown)})"


def check_axes(name: str, value: Any) -> None:
    """Raise unless the value is None or says which axes a matrix has."""
    if value is not None and not isinstance(value, MatrixAxes):
        raise TypeError(
            f"`{name}` must be None or jaxdist.compression.MatrixAxes, such as "
            f"MatrixAxes(batch=0), got {value!r}."
        )


def _axis_tuple(name: str, value: Any) -> tuple[int, ...]:
    """Return one axis or several as a tuple, or raise."""
    try:
        several = value if isinstance(value, tuple | list) else (value,)
        return tuple(operator.index(axis) for axis in several)
    except TypeError:
        raise ValueError(
            f"`{name}` must be an axis or a tuple of axes, got {value!r}."
        ) from None


class Stack(NamedTuple):
    """A leaf as many matrices ``[b, n, m]``; without rows it is none."""

    shape: tuple[int, ...]  # of the leaf
    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Return the shape of the batch axes."""
        return tuple(self.shape[axis] for axis in self.batch)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Return n and m."""
        sides = (self.rows, self.columns)
        n, m = (math.prod(self.shape[axis] for axis in side) for side in sides)
        return n, m

    def shrinks(self, rank: int) -> bool:
        """Whether factors of this rank have fewer elements than the matrices."""
        n, m = self.matrix_shape
        return bool(self.rows and self.columns) and rank * (n + m) < n * m

    def split(self, leaf: jax.Array, dtype: Any) -> jax.Array:
        """Return the matrices ``[b, n, m]`` of a leaf."""
        order = (*self.batch, *self.rows, *self.columns)
        moved = leaf.transpose(order)
        return moved.reshape(-1, *self.matrix_shape).astype(dtype)

    def join(self, matrices: jax.Array) -> jax.Array:
        """Return the leaf of ``[b, n, m]``."""
        order = (*self.batch, *self.rows, *self.columns)
        moved = matrices.reshape([self.shape[axis] for axis in order])
        return moved.transpose([order.index(axis) for axis in range(len(order))])


def stack_of(shape: tuple[int, ...], axes: MatrixAxes | None) -> Stack:
    """Return how a leaf of this shape is stacked; vectors are no matrices."""
    axes = MatrixAxes() if axes is None else axes
    everything = tuple(range(len(shape)))
    if len(shape) < 2:
        return Stack(shape, everything, (), ())
    batch, rows, columns = (
        None if side is None else _normalized(side, shape, axes)
        for side in (axes.batch, axes.rows, axes.columns)
    )
    named = [*(batch or ()), *(rows or ()), *(columns or ())]
    if len(set(named)) != len(named):
        raise ValueError(f"`axes` {axes} name an axis twice of the shape {shape}.")
    left = tuple(axis for axis in everything if axis not in named)
    if rows is not None and columns is not None:
        return Stack(shape, (*(batch or ()), *left), rows, columns)
    if rows is not None:
        return Stack(shape, batch or (), rows, left)
    if columns is not None:
        return Stack(shape, batch or (), left, columns)
    return Stack(shape, batch or (), *_fewest_elements(shape, left))


def _normalized(side, shape, axes):
    """Return axes counted from the first, or raise where a leaf has none of them."""
    if not all(-len(shape) <= axis < len(shape) for axis in side):
        raise ValueError(f"`axes` {axes} must be axes of a leaf, of shape {shape}.")
    return tuple(axis % len(shape) for axis in side)


def _fewest_elements(shape, left):
    """Cut the axes in two, so that rows and columns are fewest; ties cut late."""
    if len(left) < 2:
        return (), left

    def factor_size(cut):
        sides = (left[:cut], left[cut:])
        return sum(math.prod(shape[axis] for axis in side) for side in sides)

    cut = min(reversed(range(1, len(left))), key=factor_size)
    return left[:cut], left[cut:]


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns where the last axis is the columns, all others rows."""
    columns = shape[-1] if shape else 1
    return math.prod(shape[:-1]), columns


def as_matrix(leaf: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return the leaf as such a matrix ``[n, m]``."""
    return leaf.reshape(matrix_shape(leaf.shape)).astype(dtype)
