"""CAT: as many elements as bring the most descent for what they cost."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _sampling, _selection, _sparse


def _hold_numbers(cost, **numbers):
    """Hold plain numbers in a cost that is frozen: it must be hashable."""
    for name, number in numbers.items():
        object.__setattr__(cost, name, number)


@dataclasses.dataclass(frozen=True)
class AffineCost:
    """A price for each byte and one for each message.

    Attributes:
      per_byte: Cost of a byte, at least 0.
      per_message: Cost of a message, in the same unit, at least 0.
    """

    per_byte: float = 1.0
    per_message: float = 64.0

    def __post_init__(self):
        """Check the prices."""
        _hold_numbers(
            self,
            per_byte=_checks.real("per_byte", self.per_byte, 0.0, static=True),
            per_message=_checks.real("per_message", self.per_message, 0.0, static=True),
        )

    def __call__(self, bits: jax.Array) -> jax.Array:
        """Return the cost of messages of so many bits."""
        return self.per_byte / 8 * bits.astype(jnp.float32) + self.per_message


@dataclasses.dataclass(frozen=True)
class PacketCost:
    """The bytes of whole packets, and a constant for each message.

    Attributes:
      payload: Bytes that a packet carries, at least 1.
      header: Bytes that each packet needs in addition, at least 0.
      per_message: Bytes that each message needs in addition, at least 0.
    """

    payload: int = 512
    header: int = 64
    per_message: float = 64.0

    def __post_init__(self):
        """Check the bytes."""
        _hold_numbers(
            self,
            payload=_checks.integer("payload", self.payload, 1),
            header=_checks.integer("header", self.header, 0),
            per_message=_checks.real("per_message", self.per_message, 0.0, static=True),
        )

    def __call__(self, bits: jax.Array) -> jax.Array:
        """Return the cost of messages of so many bits."""
        full = jnp.asarray(8 * self.payload, bits.dtype)
        packets = (bits + full - 1) // full
        each = float(self.payload + self.header)
        return each * packets.astype(jnp.float32) + self.per_message


class CatState(NamedTuple):
    """State of :func:`cat`."""

    kept: jax.Array  # int32, shape (); T summed over blocks; varies over workers
    nbytes: jax.Array  # float32, shape (); bytes of T elements; varies over workers


def cat(
    cost: Callable[[jax.Array], jax.Array] | None = None,
    mode: Literal["top_k", "sign", "stochastic"] = "top_k",
    *,
    max_density: float = 0.1,
    block_size: int | None = 2**16,
) -> _compressor.Compressor:
    r"""Keep the number of elements with the most guaranteed descent for its cost.

    .. math:: T = \arg\max_T \frac{a(T)}{c(T)}, \qquad a(T) =
       \begin{cases} \|x_T\|_2^2 / \|x\|_2^2 & \text{top\_k} \\
       \|x_T\|_1^2 / (T \|x\|_2^2) & \text{sign} \\
       \|x\|_2^2 / \mathbb{E}\|C(x)\|_2^2 & \text{stochastic} \end{cases}

    with :math:`x_T` the :math:`T` largest elements. Shapes are static: a message has
    room for ``max_density`` of the elements, and uses :math:`T` of these places. The
    state says what a transport of variable length would send.

    Args:
      cost: :math:`c`, maps numbers of bits (uint32) to costs (float32); None is
        ``AffineCost()``. A cost without a part for each message makes :math:`T = 1`.
      mode: "top_k" sends the elements, "sign" their signs and mean magnitude,
        "stochastic" draws elements as :func:`atomo` does.
      max_density: Most elements that may be kept in a block, as a share in (0, 1].
      block_size: Most elements among which :math:`T` is chosen, and which count as a
        message. None is the whole leaf (or, on the scatter route, the leaf's part for
        one worker); in the mode "stochastic" at most 65 536. A leaf is cut into equal
        blocks of at most this size.

    Returns:
      A compressor that is a contraction with :math:`\delta = 1/d` in each block of
      :math:`d` elements in the modes "top_k" and "sign", and unbiased with
      :math:`\omega = d - 1` (plus rounding, as in :func:`atomo`) in the mode
      "stochastic". Its state has ``kept``, the sum of all :math:`T`, and ``nbytes``
      that they would take, with :math:`\lceil \log_2 d \rceil` bits for an index.

    Raises:
      ValueError: If ``mode`` is unknown or a number is out of its range.
      TypeError: If ``cost`` cannot be called.

    Communication:
      Payload of :math:`k = \lceil \text{max_density} \cdot d \rceil` indices within
      each block (8 bits each up to 256 elements, 12 up to 4096, 16 up to 65 536, else
      32) and :math:`k` elements in the dtype of the leaf; in the mode "sign"
      :math:`\lceil k/8 \rceil + 8` bytes instead of the elements.

    Example:
      >>> cost = jaxdist.compression.AffineCost(per_message=8)
      >>> c = jaxdist.compression.cat(cost, max_density=1.0)
      >>> sent, state = jaxdist.roundtrip(c, jnp.array([4.0, 3.0, 0.5, 0.1]))
      >>> print(sent, state.kept, state.nbytes)
      [4. 3. 0. 0.] 2 8.5

    References:
      Khirirat et al., `A Flexible Framework for Communication-Efficient Machine
      Learning <https://arxiv.org/abs/2003.06377>`_, 2021. There the number is chosen
      for the whole gradient, and exactly what is kept is sent. In the mode "sign" the
      factor of the step size is part of what is sent; in the mode "stochastic" it is
      not.
    """
    cost = AffineCost() if cost is None else cost
    if not callable(cost):
        raise TypeError(
            "`cost` must be callable, such as "
            f"jaxdist.compression.PacketCost(payload=512), got {cost!r}."
        )
    _checks.one_of("mode", mode, ("top_k", "sign", "stochastic"))
    max_density = _checks.real(
        "max_density", max_density, 0.0, 1.0, above=True, static=True
    )
    largest = _sampling.LARGEST_BLOCK if mode == "stochastic" else math.inf
    if block_size is not None or mode == "stochastic":
        block_size = _checks.integer("block_size", block_size, 1, largest)

    def init(leaf):
        return CatState(
            jnp.zeros_like(leaf, shape=(), dtype=jnp.int32),
            jnp.zeros_like(leaf, shape=(), dtype=jnp.float32),
        )

    def encode(leaf, state, keys, blocks):
        del state
        chunks = _tree.to_chunks(_tree.to_blocks(leaf, blocks), block_size)
        length = chunks.shape[-1]
        count = _tree.kept_count(max_density, length)
        indices, sizes = _sorted_descending(chunks, count)
        number, state = _worthwhile_number(chunks, sizes, cost, mode)
        if mode == "stochastic":
            return _draw_elements(keys.own, chunks, number, count), state
        values = _sparse.gather_elements(chunks, indices)
        places = jnp.arange(values.shape[-1], dtype=jnp.int32)
        used = places.reshape(1, 1, -1) < number[..., None]
        values = jnp.where(used, values, jnp.zeros_like(values))
        if mode == "top_k":
            return _sparse.sparse_payload(values, indices, length), state
        return _packed_signs(values, number, indices, length), state

    def accumulate(total, payload, keys, share=1.0):
        if mode == "sign":
            payload = _from_signs(payload, max_density, total, block_size)
        return _sparse.accumulate_sparse(total, payload, keys, share)

    def decode(payload, like, keys):
        travelled = jax.tree.leaves(payload)[0]
        zeros = jnp.zeros_like(travelled, shape=like.shape, dtype=like.dtype)
        return accumulate(zeros, payload, keys)

    def variance(size):
        _, length = _tree.chunk_shape(size, block_size)
        if mode != "stochastic":
            return 1.0 - 1.0 / length
        sampler = _sampling.Sampler(length, _tree.kept_count(max_density, length))
        return max(length / min(1.0, sampler.budget) - 1.0, sampler.variance())

    contract = _compressor.Contract(
        unbiased=mode == "stochastic",
        variance=variance,
        stochastic=mode == "stochastic",
        aligned=False,
        keeps_zeros=mode != "sign",
    )
    name = f"cat({cost}, {mode!r}, max_density={max_density}, block_size={block_size})"
    return _compressor.Compressor(init, encode, decode, contract, name, accumulate)


def _worthwhile_number(chunks, sizes, cost, mode):
    """Return how many elements of each chunk are worth their cost, and the state."""
    bits = _index_bits(sizes.shape[-1], chunks.shape[-1], chunks.dtype, mode)
    gains = _GAINS[mode](sizes, _sampling.relative_magnitudes(chunks))
    worth = gains / jnp.broadcast_to(cost(bits), gains.shape)
    number = 1 + jnp.argmax(worth, axis=-1).astype(jnp.int32)
    sent = jnp.sum(bits[number - 1].astype(jnp.float32)) / 8
    return number, CatState(jnp.sum(number, dtype=jnp.int32), sent)


def _index_bits(count, length, dtype, mode):
    """Return the bits of messages of 1, 2, ... ``count`` elements, uint32."""
    number = jnp.arange(1, count + 1, dtype=jnp.uint32)
    index = math.ceil(math.log2(length))
    if mode == "sign":
        return 32 + number * (index + 1)
    return number * (index + jnp.finfo(dtype).bits)


def _sorted_descending(chunks, count):
    """Return where the largest stand and their relative magnitudes, largest first."""
    indices = _selection.largest_elements(chunks, count)
    sizes = _sparse.gather_elements(_sampling.relative_magnitudes(chunks), indices)
    order = jnp.argsort(sizes, axis=-1, descending=True, stable=True)
    order = order.astype(indices.dtype)  # 64 bits where numbers have them
    return _sparse.gather_elements(indices, order), _sparse.gather_elements(
        sizes, order
    )


def _squared_norm(sizes):
    """Return the squared norms over the last axis, kept; 1 for zero chunks."""
    squared = jnp.sum(sizes**2, axis=-1, keepdims=True)
    return jnp.where(squared > 0, squared, 1.0)


def _top_k_gains(sizes, everything):
    """Return the share of the squared norm that the first T hold, for each T."""
    return jnp.cumsum(sizes**2, axis=-1) / _squared_norm(everything)


def _sign_gains(sizes, everything):
    """Return the same for the projection on the signs of the first T."""
    number = jnp.arange(1, sizes.shape[-1] + 1, dtype=jnp.float32).reshape(1, 1, -1)
    return jnp.cumsum(sizes, axis=-1) ** 2 / number / _squared_norm(everything)


def _stochastic_gains(sizes, everything):
    r"""Return the squared norm over the least second moment with T elements.

    With the first i at probability 1, which hold for the first i that
    :math:`i + t_i / a_i \ge T`, where t are the sums of the rest.
    """
    beyond = jnp.sum(everything, axis=-1, keepdims=True)
    beyond = jnp.maximum(beyond - jnp.sum(sizes, axis=-1, keepdims=True), 0.0)
    rest = beyond + jax.lax.cumsum(sizes, axis=sizes.ndim - 1, reverse=True)
    place = jnp.arange(sizes.shape[-1], dtype=jnp.float32).reshape(1, 1, -1)
    until = place + rest / jnp.where(sizes > 0, sizes, jnp.finfo(jnp.float32).tiny)
    until = jax.lax.cummax(until, axis=until.ndim - 1)
    first = _sparse.search_sorted(until, place.reshape(-1) + 1)
    first = jnp.minimum(first, place.astype(jnp.int32))
    certain = jnp.cumsum(sizes**2, axis=-1) - sizes**2
    left = place + 1 - first.astype(jnp.float32)
    moment = (
        _sparse.gather_elements(certain, first)
        + _sparse.gather_elements(rest, first) ** 2 / left
    )
    return _squared_norm(everything) / jnp.where(moment > 0, moment, 1.0)


_GAINS = {
    "top_k": _top_k_gains,
    "sign": _sign_gains,
    "stochastic": _stochastic_gains,
}


def _draw_elements(key, chunks, number, capacity):
    """Draw ``number`` elements of each chunk."""
    sampler = _sampling.Sampler(chunks.shape[-1], capacity)
    sizes = _sampling.relative_magnitudes(chunks)
    # Rounding can take a few more than the number, but never more than there is room.
    budget = jnp.minimum(number.astype(jnp.float32), sampler.budget)
    chances = _sampling.keep_probabilities(sizes, _sampling.water_level(sizes, budget))
    drawn = _sampling.draw_elements(
        key, chunks, _sampling.probability_units(chances, chunks, sampler), sampler
    )
    return _sparse.sparse_payload(*drawn, sampler.length)


def _packed_signs(values, number, indices, length):
    """Return the signs of the values, the mean magnitude of those used, and places."""
    blocks = values.shape[0]
    share = jnp.abs(values).astype(jnp.float32) / number[..., None].astype(jnp.float32)
    signs = jnp.packbits(values.reshape(blocks, -1) >= 0, axis=-1)
    _, packed = _sparse.sparse_payload(values, indices, length)
    return signs, jnp.sum(share, axis=-1), number, packed


def _from_signs(payload, max_density, total, block_size):
    """Return the values and places of a payload of signs."""
    signs, scales, number, packed = payload
    blocks, chunks = scales.shape
    _, length = _tree.chunk_shape(_tree.block_size(total.size, blocks), block_size)
    count = _tree.kept_count(max_density, length)
    positive = jnp.unpackbits(signs, axis=-1, count=chunks * count)
    positive = positive.reshape(blocks, chunks, count) == 1
    used = jnp.arange(count, dtype=number.dtype).reshape(1, 1, -1) < number[..., None]
    values = jnp.where(positive, scales[..., None], -scales[..., None])
    return jnp.where(used, values, 0.0), packed
