"""Contractive: shrink an unbiased compressor until it is a contraction."""

import dataclasses
import math

from jaxdist import _tree
from jaxdist.compression import _compressor, _per_leaf


def contractive(compressor: _compressor.Compressor) -> _compressor.Compressor:
    r"""Scale an unbiased compressor by :math:`1/(1+\omega)`.

    .. math:: C'(x) = \frac{C(x)}{1 + \omega}, \qquad
       \mathbb{E}\|C'(x) - x\|^2 \le \frac{\omega}{1+\omega}\|x\|^2

    Args:
      compressor: :math:`C`, unbiased with variance :math:`\omega`.

    Returns:
      A biased compressor with the payload of ``compressor``, a contraction with
      :math:`\delta = 1/(1+\omega)`: what :func:`error_feedback` needs.

    Raises:
      ValueError: If ``compressor`` is biased or its variance has no bound.

    Communication:
      That of ``compressor``.

    Example:
      >>> c = jaxdist.compression.contractive(jaxdist.compression.random_k(density=0.5))
      >>> sent, _ = jaxdist.roundtrip(c, jnp.ones(4), jax.random.key(0))
      >>> print(sent.sum())
      2.0

    References:
      Horváth et al., `Stochastic Distributed Learning with Gradient Quantization and
      Variance Reduction <https://arxiv.org/abs/1904.05115>`_, 2019.
    """
    _per_leaf.check_compressor("compressor", compressor)
    contract = compressor.contract
    if not contract.unbiased or math.isinf(contract.variance(1)):
        raise ValueError(
            f"`compressor` must be unbiased with a bounded variance, got "
            f"{compressor.name}, which is not. A biased compressor that contracts "
            "needs no scaling: give it to error_feedback as it is."
        )

    def decode(payload, like, keys):
        blocks = _per_leaf.blocks_of(payload)
        omega = contract.variance(_tree.block_size(math.prod(like.shape), blocks))
        return compressor.decode(payload, like, keys) / (1.0 + omega)

    def variance(size):
        omega = contract.variance(size)
        return omega / (1.0 + omega)

    return compressor._replace(
        decode=decode,
        contract=dataclasses.replace(contract, unbiased=False, variance=variance),
        name=f"contractive({compressor.name})",
        accumulate=None,
    )
