"""Largest learning rate: beyond which a chain, or a descent, runs away."""

import numpy as np

from jaxdist import _checks


def largest_learning_rate(
    curvature: float = 1.0, momentum: float = 0.0, delay: int = 0
) -> float:
    r"""Return the rate up to which SGD with late gradients is stable.

    On a quadratic of curvature a, momentum m and gradients :math:`\tau` steps late, the
    parameters follow

    .. math:: \theta_{t+1} = \theta_t + m (\theta_t - \theta_{t-1})
       - \eta a\,\theta_{t-\tau}

    This returns the largest :math:`\eta` for which that does not grow; in the docs of
    :func:`jaxdist.delay_updates` is a table for a = 1. Momentum, which helps gradients
    that are fresh, hurts those that are late.

    Args:
      curvature: a, the largest eigenvalue of the Hessian of what the gradients are of,
        above 0; in squared inverse units of the parameters.
      momentum: m in [0, 1), no unit, of ``optax.sgd``.
      delay: :math:`\tau` in optimizer steps, of :func:`jaxdist.delay_updates`, at most
        200.

    Returns:
      The limit itself, where parameters oscillate forever. A sampler wants much less.
      With fresh gradients its variance is 1 / (1 - rate/limit) times the target's. The
      noise of small batches lowers the limit further;
      :func:`jaxdist.testing.stationary_covariance` knows by how much.

    Raises:
      ValueError: If ``curvature`` is not above 0, ``momentum`` not in [0, 1) or
        ``delay`` not in [0, 200].

    Communication:
      None.

    Example:
      >>> print(f"{jaxdist.sgmcmc.largest_learning_rate(4.0, momentum=0.9):.4f}")
      0.9500
      >>> late = jaxdist.sgmcmc.largest_learning_rate(4.0, momentum=0.9, delay=1)
      >>> print(f"{late:.4f}")
      0.0250

    References:
      The roots of the characteristic polynomial. Chen et al., `Stochastic Gradient MCMC
      with Stale Gradients <https://arxiv.org/abs/1610.06664>`_, 2016, for the setting.
    """
    curvature = _checks.real("curvature", curvature, 0.0, above=True, static=True)
    momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True, static=True)
    delay = _checks.integer("delay", delay, 0, 200)
    if delay == 0:
        return 2 * (1 + momentum) / curvature
    return _first_crossing(momentum, delay) / curvature


def _first_crossing(momentum: float, delay: int) -> float:
    r"""Return the least product of rate and curvature with a root on the unit circle.

    There :math:`\eta a = -z^{\tau - 1} (z - 1)(z - m)` with :math:`z = e^{i\phi}`,
    which must be a real number above 0.
    """
    angles = np.linspace(0, np.pi, 400 * (delay + 1) + 1)[1:]

    def product(angle):
        z = np.exp(1j * angle)
        return -(z ** (delay - 1)) * (z - 1) * (z - momentum)

    imaginary = product(angles).imag
    crossings = [np.pi]
    for i in np.flatnonzero(imaginary[:-1] * imaginary[1:] <= 0):
        low, high = angles[i], angles[i + 1]
        for _ in range(60):
            middle = (low + high) / 2
            same = product(low).imag * product(middle).imag > 0
            low, high = (middle, high) if same else (low, middle)
        crossings.append(low)
    values = product(np.asarray(crossings)).real
    return float(values[values > 0].min())
