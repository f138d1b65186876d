"""Sparse payloads: positions in as few bytes as they need."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.compression.numerics import _sparse


@pytest.mark.parametrize(
    ("length", "nbytes"), [(256, 7), (257, 11), (4096, 11), (4097, 14), (2**17, 28)]
)
def test_positions_come_back_from_few_bytes(length, nbytes):
    indices = np.random.default_rng(0).integers(0, length, (3, 7))
    indices[0, :2] = 0, length - 1
    packed = _sparse.pack_indices(jnp.asarray(indices, jnp.int32), length)
    assert packed.shape[0] == 3
    assert packed.nbytes == 3 * nbytes
    np.testing.assert_array_equal(_sparse.unpack_indices(packed, 7, length), indices)


def test_accumulate_adds_each_value_at_its_place():
    """Two blocks of two chunks of two elements; the last of all is padding."""
    values = jnp.asarray([[[1.0], [2.0]], [[3.0], [4.0]]])
    indices = jnp.asarray([[[0], [1]], [[1], [0]]])
    payload = _sparse.sparse_payload(values, indices, 2)
    total = _sparse.accumulate_sparse(jnp.full(7, 10.0), payload)
    np.testing.assert_array_equal(total, [11, 10, 10, 12, 10, 13, 14])


def test_equal_places_add_up():
    payload = _sparse.sparse_payload(
        jnp.ones((1, 1, 2)), jnp.zeros((1, 1, 2), jnp.int32), 3
    )
    np.testing.assert_array_equal(
        _sparse.decode_sparse(payload, jnp.zeros(3)), [2, 0, 0]
    )
