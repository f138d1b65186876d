"""The payload: exactly the bytes that travel, and what receivers do with them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _tree, _wire
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.testing import _run

_SPOILT = 512  # bytes that are inverted, about
_OF_EACH = 4  # at least so many of each array
_MOST_IDLE = 0.75  # of the bytes: a message has room that an ordinary leaf leaves empty
_TOLERANCE = 1e-5  # of float32, in units of the largest element


def payload(setting: _run.Setting) -> str:
    """Check the leading axis, the bytes, and that nothing else is needed to decode."""
    for blocks in setting.blocks:
        _require_bytes(setting, blocks)
    leaf = setting.leaf("normal")
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        made = _run.first_encoding(setting.compressor, leaf, setting.keys())
        arrived = _decode_spoilt(setting, made.payload)
    _require_close(
        arrived[0],
        made.seen,
        f"on {what} a receiver who has the bytes of the payload decodes something else "
        "than the sender",
    )
    idle = _require_used(made.payload, arrived, what)
    for size, expected in setting.nbytes.items():
        like = jax.ShapeDtypeStruct((size,), jnp.float32)
        with _run.on_inputs(_run.describe_leaf("normal", like)):
            actual = _per_leaf.payload_nbytes(setting.compressor, like)
        _run.require_true(
            actual == expected,
            f"the payload of {size} float32 has {actual} bytes, not {expected}.",
        )
    nbytes = _per_leaf.payload_nbytes(setting.compressor, leaf)
    room = f", {idle} of them empty room" if idle else ""
    return f"{nbytes} bytes for {leaf.size} elements{room}"


def _require_bytes(setting: _run.Setting, blocks: int) -> None:
    """Raise unless the payload has rows of blocks, and the bytes that shapes say."""
    leaf = setting.leaf("normal")
    what = _run.describe_leaf("normal", leaf, blocks)
    with _run.on_inputs(what):
        made = _run.first_encoding(setting.compressor, leaf, setting.keys(), blocks)
        declared = _per_leaf.payload_nbytes(setting.compressor, leaf, blocks)
    arrays = jax.tree.leaves(made.payload)
    _run.require_true(arrays, f"on {what} the payload holds no array.")
    for array in arrays:
        _run.require_true(
            array.ndim >= 1 and array.shape[0] == blocks,
            f"on {what} the payload holds {array.dtype}{list(array.shape)}, whose "
            f"leading axis is not `blocks`, {blocks}.",
        )
    actual = sum(array.nbytes for array in arrays)
    _run.require_true(
        actual == declared,
        f"on {what} the payload has {actual} bytes, but shapes alone say {declared}.",
    )


def _decode_spoilt(setting: _run.Setting, sent: _compressor.Payload) -> jax.Array:
    """Decode the payload in another program, from its bytes.

    Returns:
      ``[1 + n, *shape]``: of the bytes as they are, then with one of them inverted.
    """
    arrays, treedef = jax.tree.flatten(sent)
    message = _wire.pack_message(arrays)
    places = _spoilt_places([_wire.row_nbytes(array) for array in arrays])

    def decode(place, message, keys):
        flips = jnp.arange(message.shape[1], dtype=place.dtype) == place
        inverted = jnp.where(flips[None], ~message, message)
        arrived = _wire.unpack_message(inverted, arrays)
        return setting.compressor.decode(
            treedef.unflatten(arrived), setting.like(), keys
        )

    decode_all = _run.compiled_quickly(jax.vmap(decode, in_axes=(0, None, None)))
    # No place is -1: nothing is inverted there.
    places = np.concatenate([np.array([-1], np.int32), places])
    return decode_all(places, message, setting.keys())


def _spoilt_places(sizes: list[int]) -> np.ndarray:
    """Return the bytes to invert: all, or so many that are spread over all arrays."""
    ends = np.cumsum(sizes)
    spread = [np.linspace(0, ends[-1] - 1, _SPOILT)]
    # Of a short array between long ones too.
    for size, end in zip(sizes, ends, strict=True):
        spread.append(np.linspace(end - size, end - 1, min(size, _OF_EACH)))
    return np.unique(np.concatenate(spread).round().astype(np.int32))


def _require_used(sent: _compressor.Payload, arrived: jax.Array, what: str) -> int:
    """Return how many bytes change nothing, or raise if an array or most do not."""
    paths, arrays = zip(*jax.tree.leaves_with_path(sent), strict=True)
    sizes = [_wire.row_nbytes(array) for array in arrays]
    exact, places = _run.exact_array(arrived), _spoilt_places(sizes)
    changes = ~_same_rows(exact[1:], exact[:1])
    ends = np.cumsum(sizes)
    for path, array, size, end in zip(paths, arrays, sizes, ends, strict=True):
        inside = changes[(places >= end - size) & (places < end)]
        _run.require_true(
            inside.any() or not size,
            f"on {what} the payload{jax.tree_util.keystr(path)}, "
            f"{array.dtype}{list(array.shape)}, changes nothing of what is decoded: "
            f"{size} bytes travel for nothing.",
        )
    idle = round(float(np.mean(~changes)) * sum(sizes))
    _run.require_true(
        idle < _MOST_IDLE * sum(sizes),
        f"on {what} {idle} of the {sum(sizes)} bytes of the payload change nothing of "
        "what is decoded: they travel for nothing.",
    )
    return idle


def blocks(setting: _run.Setting) -> str:
    """Check that each block decodes alone, to its part of the whole."""
    cases = [(setting.leaf("normal"), _run.BLOCKS), (jnp.arange(1.0, 6), 8)]
    for leaf, num in cases:
        what = _run.describe_leaf("normal", leaf, num)
        with _run.on_inputs(what):
            whole = _run.first_encoding(setting.compressor, leaf, setting.keys(), num)
            parts = _decoded_alone(setting, whole.payload, leaf, num)
        _require_close(
            parts.reshape(-1)[: leaf.size],
            whole.seen.reshape(-1),
            f"on {what} the blocks, each decoded alone, do not join to the whole",
        )
        finite = _run.is_finite(parts)
        _run.require_true(finite, f"on {what} the padding of a block is not finite.")
    return " and ".join(f"{num} blocks of {leaf.size}" for leaf, num in cases)


def _decoded_alone(setting, sent, leaf, num) -> jax.Array:
    """Return ``[num, size]``, each row decoded from its own rows of the payload."""
    part = jax.ShapeDtypeStruct((_tree.block_size(leaf.size, num),), leaf.dtype)

    def decode(rows, keys):
        alone = jax.tree.map(lambda array: array[None], rows)
        return setting.compressor.decode(alone, part, keys)

    decode_rows = jax.vmap(decode, in_axes=(0, None))
    return _run.compiled_quickly(decode_rows)(sent, setting.keys())


def accumulate(setting: _run.Setting) -> str:
    """Check that ``accumulate`` adds what ``decode`` gives."""
    add = setting.compressor.accumulate
    assert add is not None
    leaf, total, keys = setting.leaf("normal"), setting.leaf("flat"), setting.keys()
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        made = _run.first_encoding(setting.compressor, leaf, keys)
        for share in (1.0, 0.25):
            added = _run.compiled_quickly(add)(total, made.payload, keys, share)
            _require_close(
                added,
                _run.exact_array(total) + share * _run.exact_array(made.seen),
                f"on {what} `accumulate` does not add {share} of what `decode` gives",
            )
    narrow = setting.like(jnp.bfloat16)
    what = _run.describe_leaf("normal", narrow)
    with _run.on_inputs(what):
        sent = _per_leaf.payload_like(
            setting.compressor, setting.shape, jnp.bfloat16, 1
        )
        added = jax.eval_shape(add, total, sent, keys, 1.0)
    _run.require_true(
        (added.shape, added.dtype) == (total.shape, total.dtype),
        f"on {what} `accumulate` turns a total of {total.dtype}{list(total.shape)} "
        f"into {added.dtype}{list(added.shape)}.",
    )
    return "a total of float32, payloads of float32 and bfloat16"


def _require_close(made, wanted, sentence: str) -> None:
    """Raise unless two arrays agree up to the rounding of float32."""
    made, wanted = _run.exact_array(made), _run.exact_array(wanted)
    difference = float(np.max(np.abs(made - wanted), initial=0.0))
    limit = _TOLERANCE * float(np.max(np.abs(wanted), initial=0.0))
    _run.require_true(
        difference <= limit, f"{sentence}: they differ by up to {difference:.3g}."
    )


def _same_rows(rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which rows ``[n, ...]`` are the same as another; NaN is the same."""
    same = (rows == other) | (np.isnan(rows) & np.isnan(other))
    return same.reshape(len(rows), -1).all(axis=1)
