"""Quantized: what a sparsifier keeps, sent through a quantizer."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _random
from jaxdist.compression import _compressor, _feedback, _per_leaf


def quantized(
    sparsifier: _compressor.Compressor, quantizer: _compressor.Compressor
) -> _compressor.Compressor:
    r"""Compress the numbers that a sparsifier sends, and leave their places alone.

    .. math:: C(x) = S^{-1}(Q(v)) \quad\text{where } S \text{ sends the values } v

    Args:
      sparsifier: :math:`S`, such as :func:`top_k`, :func:`atomo` or :func:`random_k`,
        with :math:`\omega_S`. Its payload holds one array of numbers.
      quantizer: :math:`Q` without state, such as :func:`qsgd` or :func:`cast`, with
        :math:`\omega_Q` for as many elements as a block keeps. Its contract says
        ``keeps_zeros``: room that the sparsifier does not need is filled with zeros.

    Returns:
      A compressor with the state of ``sparsifier``. If both are unbiased so is this,
      with :math:`\omega = (1 + \omega_S)(1 + \omega_Q) - 1`. If the sparsifier is a
      projection (:func:`top_k`, :func:`dct_top_k`) with contraction :math:`\delta`,
      this is a contraction with :math:`\delta(1 - \omega_Q)` if :math:`\omega_Q < 1`,
      and none otherwise. In all other cases
      :math:`\sqrt\omega = \sqrt{\omega_S} + \sqrt{\omega_Q}(1 + \sqrt{\omega_S})`.

    Raises:
      TypeError: If one of the two is no compressor.
      ValueError: If ``sparsifier`` does not send exactly one array of numbers, or if
        ``quantizer`` has a state or does not keep zeros.

    Communication:
      Payload of ``quantizer`` for the kept elements, and the indices of ``sparsifier``.

    Example:
      >>> c = jaxdist.compression.quantized(
      ...     jaxdist.compression.top_k(32 / 4096, 4096),
      ...     jaxdist.compression.qsgd(bits=8),
      ... )
      >>> leaf = jax.ShapeDtypeStruct((4096,), jnp.float32)
      >>> jaxdist.payload_nbytes(c, leaf)  # 32 bytes, 32 times 12 bits, a norm
      84

    References:
      Basu et al., `Qsparse-local-SGD <https://arxiv.org/abs/1906.02367>`_, 2019,
      Lemmas 1 and 2.
    """
    _per_leaf.check_compressor("sparsifier", sparsifier)
    _per_leaf.check_compressor("quantizer", quantizer)
    example = jax.ShapeDtypeStruct((1,), jnp.float32)
    _values_place(
        sparsifier, _per_leaf.payload_like(sparsifier, (1,), example.dtype, 1)
    )
    _feedback.check_forgetful("quantized", sparsifier)
    if jax.tree.leaves(jax.eval_shape(quantizer.init, example)):
        raise ValueError(
            f"`quantizer` must have no state, got {quantizer.name}, which has one. Put "
            "error_feedback around the whole: error_feedback(quantized(...))."
        )
    # Asked of the contract, not tried out: a trial would compute something while the
    # compressor is made, perhaps before `jax.distributed.initialize`. The kit tries it.
    if not quantizer.contract.keeps_zeros:
        raise ValueError(
            "`quantizer` must keep zeros, which fill the room that a sparsifier does "
            f"not need; the contract of {quantizer.name} does not say so. Use one such "
            "as qsgd or blockwise_int, or, for a quantizer of your own that does, "
            "Contract(keeps_zeros=True)."
        )
    add = sparsifier.accumulate

    def encode(leaf, state, keys, blocks):
        payload, state = sparsifier.encode(leaf, state, keys, blocks)
        parts, _ = jax.tree.flatten(payload)
        values = parts.pop(_values_place(sparsifier, payload))
        narrow, _ = quantizer.encode(values.reshape(-1), (), _second_keys(keys), blocks)
        return (narrow, parts), state

    def widened(payload, like, keys):
        """Return the payload of the sparsifier."""
        narrow, parts = payload
        blocks = _per_leaf.blocks_of(payload)
        made = _per_leaf.payload_like(sparsifier, tuple(like.shape), like.dtype, blocks)
        place = _values_place(sparsifier, made)
        shapes, treedef = jax.tree.flatten(made)
        flat = jax.ShapeDtypeStruct((math.prod(shapes[place].shape),), like.dtype)
        values = quantizer.decode(narrow, flat, _second_keys(keys))
        values = values.reshape(shapes[place].shape)
        return treedef.unflatten([*parts[:place], values, *parts[place:]])

    def decode(payload, like, keys):
        return sparsifier.decode(widened(payload, like, keys), like, keys)

    def accumulate(total, payload, keys, share=1.0):
        if add is None:
            return total
        return add(total, widened(payload, total, keys), keys, share)

    return sparsifier._replace(
        encode=encode,
        decode=decode,
        contract=_joint_contract(sparsifier, quantizer),
        name=f"quantized({sparsifier.name}, {quantizer.name})",
        accumulate=accumulate if add else None,
    )


def _joint_contract(sparsifier, quantizer):
    """Return what the composition promises."""
    outer, inner = sparsifier.contract, quantizer.contract

    def variance(size):
        sent = _per_leaf.payload_like(sparsifier, (size,), jnp.dtype(jnp.float32), 1)
        values = jax.tree.leaves(sent)[_values_place(sparsifier, sent)]
        dropped, rounded = outer.variance(size), inner.variance(math.prod(values.shape))
        if outer.unbiased and inner.unbiased:
            return (1 + dropped) * (1 + rounded) - 1
        if outer.projection:  # what is rounded is orthogonal to what is dropped
            return dropped + (1 - dropped) * rounded if rounded <= 1 else rounded
        return (math.sqrt(dropped) + math.sqrt(rounded) * (1 + math.sqrt(dropped))) ** 2

    return _compressor.Contract(
        unbiased=outer.unbiased and inner.unbiased,
        variance=variance,
        linear=outer.linear and inner.linear,
        splittable=outer.splittable and inner.splittable,
        stochastic=outer.stochastic or inner.stochastic,
        aligned=outer.aligned and inner.aligned,
        keeps_zeros=outer.keeps_zeros,
    )


def _values_place(sparsifier: _compressor.Compressor, payload: Any) -> int:
    """Return which array of the payload holds the numbers."""
    parts = jax.tree.leaves(payload)
    places = [
        i for i, part in enumerate(parts) if jnp.issubdtype(part.dtype, jnp.floating)
    ]
    if len(places) != 1:
        raise ValueError(
            f"`sparsifier` must send exactly one array of numbers, got "
            f"{sparsifier.name}, which sends {len(places)}."
        )
    return places[0]


def _second_keys(keys: _random.Keys) -> _random.Keys:
    """Return keys for the quantizer that are independent of the sparsifier's."""
    if keys.own is None:  # neither of them draws
        return keys
    return _random.Keys(*(jax.random.fold_in(key, 1) for key in keys))
