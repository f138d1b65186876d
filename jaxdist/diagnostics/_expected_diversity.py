"""Expected diversity: what noise of a compressor, or of a sampler, makes of it."""

import jax
import jax.numpy as jnp

from jaxdist import _checks


def expected_diversity(
    squares: float | jax.Array, square_of_sum: float | jax.Array, variance: float
) -> jax.Array:
    r"""Return the diversity of gradients that get noise of their own without bias.

    .. math:: \Delta^C = \frac{(1+\omega) S}{(1+\omega) S + C}, \qquad
       S = \sum_i \|g_i\|^2, \quad C = \Big\|\sum_i g_i\Big\|^2 - S

    The mechanisms of the paper are compressors. Their relative variances are

    ==================================  ===============================================
    mechanism                           :math:`\omega`
    ==================================  ===============================================
    quantization to a sign and a norm   :math:`\sum_i \|g_i\|_2 \|g_i\|_1 / S - 1`
    Langevin noise :math:`\sigma`       :math:`n d \sigma^2 / S`
    DropConnect of a share p            :math:`p / (1 - p)`
    ``random_k(shared=False)``          1/density - 1
    ==================================  ===============================================

    Noise that workers share (``random_k()``) scales S and C alike, and changes nothing.

    Args:
      squares: S, the sum of the squared norms; of :func:`example_diversity`, or W A.
      square_of_sum: The squared norm of the sum.
      variance: :math:`\omega \ge 0`, no unit: :math:`E\|C(g)-g\|^2` in units of
        :math:`\|g\|^2`, as ``Contract.variance`` bounds it.

    Returns:
      The diversity, float32 or wider of shape (); inf where the denominator is 0. Times
      n it is the bound of the batch size.

    Raises:
      ValueError: If ``squares``, ``square_of_sum`` or ``variance`` is negative.

    Communication:
      None.

    Example:
      >>> print(jaxdist.diagnostics.expected_diversity(4.0, 10.0, 0.0))
      0.4
      >>> print(f"{jaxdist.diagnostics.expected_diversity(4.0, 10.0, 1.0):.3f}")
      0.571

    References:
      Yin et al., `Gradient Diversity: a Key Ingredient for Scalable Distributed
      Learning <https://arxiv.org/abs/1706.05699>`_, 2018, Section 4.4. The paper's
      DropConnect does not divide by 1 - p, which changes nothing here.
    """
    squares = jnp.asarray(_checks.real("squares", squares, 0.0), jnp.float32)
    square_of_sum = jnp.asarray(
        _checks.real("square_of_sum", square_of_sum, 0.0), jnp.float32
    )
    variance = _checks.real("variance", variance, 0.0)
    noisy = variance * squares
    return jnp.where(
        square_of_sum + noisy > 0, (squares + noisy) / (square_of_sum + noisy), jnp.inf
    )
