"""What is packed comes back bit by bit, whatever its dtype."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist import _wire

DTYPES = [
    jnp.float32,
    jnp.bfloat16,
    jnp.float16,
    jnp.float8_e4m3fn,
    jnp.int8,
    jnp.uint8,
    jnp.int16,
    jnp.uint16,
    jnp.int32,
    jnp.uint32,
    jnp.bool_,
    jnp.complex64,
]


def random_bits(dtype, shape, seed=0):
    """Return arrays of every bit pattern, NaNs and denormals among them."""
    size = 1 if dtype == jnp.bool_ else jnp.dtype(dtype).itemsize
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (*shape, size), dtype=np.uint8)
    if dtype == jnp.bool_:
        return jnp.asarray(raw[..., 0] > 127)
    return jnp.asarray(raw.view(jnp.dtype(dtype)).reshape(shape))


def bits(array):
    return np.asarray(array).view(np.uint8)


@pytest.mark.parametrize("blocks", [1, 4])
def test_all_dtypes_and_shapes_in_one_message(blocks):
    shapes = [(blocks,), (blocks, 3), (blocks, 0), (blocks, 2, 5)]
    arrays = [
        random_bits(dtype, shape, seed)
        for seed, (dtype, shape) in enumerate((d, s) for d in DTYPES for s in shapes)
    ]
    message = jax.jit(_wire.pack_message)(arrays)
    assert message.dtype == jnp.uint8
    assert message.nbytes == sum(array.nbytes for array in arrays)
    back = jax.jit(lambda m: _wire.unpack_message(m, arrays))(message)
    for given, returned in zip(arrays, back, strict=True):
        assert (given.shape, given.dtype) == (returned.shape, returned.dtype)
        np.testing.assert_array_equal(bits(given), bits(returned))


def test_rows_of_several_senders_unpack_at_once():
    senders = [[jnp.full((1, 2), float(i)), jnp.uint8([[i]])] for i in range(3)]
    message = jnp.concatenate([_wire.pack_message(arrays) for arrays in senders])
    floats, bytes_ = _wire.unpack_message(message, senders[0])
    np.testing.assert_array_equal(floats, [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(bytes_, [[0], [1], [2]])


def test_values_narrower_than_a_byte_are_refused():
    with pytest.raises(TypeError, match="int4.*pack such values into uint8"):
        _wire.pack_message([jnp.zeros((1, 2), jnp.int4)])
