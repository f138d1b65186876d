"""Leaves as matrices."""

import jax.numpy as jnp
import pytest

from jaxdist.compression.numerics import _matrix


@pytest.mark.parametrize(
    ("shape", "matrix"),
    [((), (1, 1)), ((7,), (1, 7)), ((3, 4), (3, 4)), ((3, 3, 8, 16), (72, 16))],
)
def test_the_last_axis_is_the_columns(shape, matrix):
    assert _matrix.matrix_shape(shape) == matrix
    assert _matrix.as_matrix(jnp.zeros(shape), jnp.dtype("float32")).shape == matrix


def test_what_shrinks():
    assert _matrix.low_rank_shrinks((10, 10), 4)
    assert not _matrix.low_rank_shrinks((10, 10), 5)
    assert not _matrix.low_rank_shrinks((100,), 1)
    assert not _matrix.low_rank_shrinks((0, 5), 1)
