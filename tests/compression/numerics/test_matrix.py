"""Leaves as matrices."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _matrix

Axes = _matrix.MatrixAxes


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [((), (1, 1)), ((7,), (1, 7)), ((3, 4), (3, 4)), ((3, 3, 8, 16), (72, 16))],
)
def test_the_last_axis_is_the_columns(shape, matrix):
    assert _matrix.matrix_shape(shape) == matrix
    assert _matrix.as_matrix(jnp.zeros(shape), jnp.dtype("float32")).shape == matrix


def test_what_shrinks():
    assert _matrix.stack_of((10, 10), None).shrinks(4)
    assert not _matrix.stack_of((10, 10), None).shrinks(5)
    assert not _matrix.stack_of((100,), None).shrinks(1)
    assert not _matrix.stack_of((0, 5), None).shrinks(1)
    assert not _matrix.stack_of((8, 32), Axes(batch=0)).shrinks(1)


@pytest.mark.parametrize(
    ("shape", "axes", "batch", "matrix"),
    [
        ((3, 3, 8, 16), Axes(), (), (72, 16)),
        ((768, 12, 64), Axes(), (), (768, 768)),
        ((12, 64, 768), Axes(), (), (768, 768)),
        ((2, 2, 2), Axes(), (), (4, 2)),
        ((4, 768, 12, 64), Axes(batch=0), (4,), (768, 768)),
        ((4, 8, 9), Axes(batch=(1,)), (8,), (4, 9)),
        ((4, 8, 9), Axes(rows=-1, columns=0), (8,), (9, 4)),
        ((4, 8, 9), Axes(rows=1), (), (8, 36)),
        ((4, 8, 9, 2), Axes(batch=1, columns=(3, 0)), (8,), (9, 8)),
    ],
)
def test_a_leaf_is_one_matrix_or_many(shape, axes, batch, matrix):
    stack = _matrix.stack_of(shape, axes)
    assert (stack.batch_shape, stack.matrix_shape) == (batch, matrix)
    leaf = np.arange(np.prod(shape)).reshape(shape)
    matrices = stack.split(jnp.asarray(leaf), jnp.dtype("float32"))
    assert matrices.shape == (np.prod(batch, dtype=int), *matrix)
    np.testing.assert_array_equal(stack.join(matrices), leaf)


def test_axes_are_named_once_and_there():
    with pytest.raises(ValueError, match="`axes` must name each axis once"):
        Axes(batch=0, rows=(1, 0))
    with pytest.raises(ValueError, match="`rows` must be an axis .* got 'a'"):
        Axes(rows="a")
    with pytest.raises(ValueError, match=r"`axes`.*columns.* name an axis twice"):
        _matrix.stack_of((4, 5, 6), Axes(rows=0, columns=-3))
    with pytest.raises(ValueError, match=r"batch=\(3,\).*shape \(4, 5, 6\)"):
        _matrix.stack_of((4, 5, 6), Axes(batch=3))
    with pytest.raises(TypeError, match="`axes` must be None or .*MatrixAxes.* got 0"):
        _matrix.check_axes("axes", 0)
    assert repr(Axes(batch=np.int32(0))) == "MatrixAxes(batch=(0,))"
