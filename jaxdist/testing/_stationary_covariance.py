"""Stationary covariance: the exact law of a chain on a linear model."""

from typing import Any

import numpy as np

from jaxdist import _checks


def stationary_covariance(
    hessians: Any,
    learning_rate: float,
    *,
    gradients: Any = None,
    prior: Any = None,
    batch_size: int | None = None,
    momentum: float = 0.0,
    delay: int = 0,
    temperature: float = 1.0,
    control_variate: bool = False,
) -> np.ndarray:
    r"""Return the covariance that a chain of optax has in the end, without a chain.

    The potential is a quadratic, such as that of a linear regression,
    :math:`U = U_0 + \sum_i U_i`. The chain is ``delay_updates``,
    ``sgmcmc.control_variate`` or not, ``sgmcmc.add_langevin_noise`` and ``optax.sgd``.
    Each mini-batch S holds p examples, drawn with replacement, and its gradient is
    :math:`\nabla U_0 + \frac Np \sum_{i \in S} \nabla U_i`. Then

    .. math:: \text{vec}\, C = \Big(\bar A \otimes \bar A + \frac Np \sum_i N_i \otimes
       N_i - \frac1p N_S \otimes N_S\Big) \text{vec}\, C + \text{vec}\,Q

    where C is of the last parameters and of the last displacement. Plain SGD has the
    ``temperature`` 0.

    Args:
      hessians: :math:`A_i` of the N examples ``[N, d, d]``, symmetric; of a regression
        :math:`x_i x_i^T / \sigma^2`.
      learning_rate: :math:`\eta > 0`, for gradients of U, a sum.
      gradients: :math:`b_i = \nabla U_i(\theta^*)` at the mode ``[N, d]``; zeros when
        None. Only their noise counts.
      prior: Hessian of :math:`U_0` ``[d, d]``; zeros when None.
      batch_size: p, at least 1; None for the full gradient.
      momentum: m in [0, 1).
      delay: Optimizer steps by which gradients are late.
      temperature: T of :func:`jaxdist.sgmcmc.add_langevin_noise`, at least 0.
      control_variate: Whether the noise at the mode is taken out.

    Returns:
      The covariance of the parameters ``[d, d]``, float64. That of the posterior at T=1
      is the inverse of the sum of all Hessians.

    Raises:
      ValueError: If ``hessians``, ``gradients`` or ``prior`` have other shapes or are
        not finite; if a number is out of range; if the second moments of the chain
        grow without end, for which the error names the limit without such noise.

    Communication:
      None. The time is that of a linear system of :math:`((\tau + 2) d)^2` unknowns.

    Example:
      >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
      >>> hessians = x[:, :, None] * x[:, None, :]
      >>> print(jaxdist.testing.stationary_covariance(hessians, 0.2).round(3))
      [[ 0.794 -0.317]
       [-0.317  0.794]]

    References:
      Brosse, Durmus and Moulines, `The Promises and Pitfalls of Stochastic Gradient
      Langevin Dynamics <https://arxiv.org/abs/1811.10072>`_, 2018, for no momentum and
      no delay.
    """
    hessians = _finite_array("hessians", hessians, 3)
    number, size = hessians.shape[:2]
    if hessians.shape[2] != size or not hessians.size:
        raise ValueError(
            f"`hessians` must have the shape [N, d, d], got {hessians.shape}."
        )
    prior = _array_or_zeros("prior", prior, (size, size))
    gradients = _array_or_zeros("gradients", gradients, (number, size))
    rate = _checks.real("learning_rate", learning_rate, 0.0, above=True, static=True)
    momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True, static=True)
    delay = _checks.integer("delay", delay, 0)
    heat = _checks.real("temperature", temperature, 0.0, static=True)
    _checks.flag("control_variate", control_variate)
    noise = 2 * (1 - momentum) * rate * heat * np.eye(size)
    total = hessians.sum(0)
    mean = _step_matrix(total + prior, rate, momentum, delay)
    moments = np.kron(mean, mean)
    if batch_size is not None:
        size_of_batch = _checks.integer("batch_size", batch_size, 1)
        moments += _noise_of_batches(hessians, total, rate, delay) / size_of_batch
        if not control_variate:
            of_sum = gradients.sum(0)
            spread = number * gradients.T @ gradients - np.outer(of_sum, of_sum)
            noise = noise + rate**2 / size_of_batch * spread
    _check_stable(moments, total + prior, rate, momentum, delay)
    moved = _moved_rows(size, delay)
    injected = moved @ noise @ moved.T
    covariance = np.linalg.solve(np.eye(len(moments)) - moments, injected.ravel())
    return covariance.reshape(len(mean), len(mean))[:size, :size]


def _moved_rows(size, delay):
    """Return what a push moves: the parameters, and the displacement, which is last."""
    eye, zeros = np.eye(size), np.zeros((size, size))
    return np.concatenate([eye, *[zeros] * delay, eye])


def _step_matrix(hessian, rate, momentum, delay):
    """Return the step of (now, one step ago, ..., displacement)."""
    size = len(hessian)
    step = np.zeros(((delay + 2) * size,) * 2)
    step[:size, :size] = np.eye(size)
    for late in range(1, delay + 1):
        rows = slice(late * size, (late + 1) * size)
        step[rows, (late - 1) * size : late * size] = np.eye(size)
    moved = _moved_rows(size, delay)
    step[:, -size:] += momentum * moved
    return step + moved @ _pull(hessian, rate, delay)


def _pull(hessian, rate, delay):
    """Return what the late parameters do to the displacement ``[d, (tau + 2) d]``."""
    size = len(hessian)
    pull = np.zeros((size, (delay + 2) * size))
    pull[:, delay * size : (delay + 1) * size] = -rate * hessian
    return pull


def _noise_of_batches(hessians, total, rate, delay):
    """Return p times the second moments that one example adds to the mean step."""
    moved = _moved_rows(len(total), delay)
    whole = moved @ _pull(total, rate, delay)
    noise = -np.kron(whole, whole)
    for hessian in hessians:
        one = moved @ _pull(hessian, rate, delay)
        noise += len(hessians) * np.kron(one, one)
    return noise


def _check_stable(moments, hessian, rate, momentum, delay):
    radius = np.abs(np.linalg.eigvals(moments)).max()
    if radius >= 1:
        curvature = np.linalg.eigvalsh(hessian).max()
        raise ValueError(
            "`learning_rate` is too large: the second moments of the chain grow by "
            f"{radius:.4g} in each step, got {rate!r} with the curvature "
            f"{curvature:.4g}, momentum {momentum!r} and delay {delay}. "
            "jaxdist.sgmcmc.largest_learning_rate has the limit without the noise of "
            "batches."
        )


def _array_or_zeros(name, value, shape):
    if value is None:
        return np.zeros(shape)
    array = _finite_array(name, value, len(shape))
    if array.shape != shape:
        raise ValueError(f"`{name}` must have the shape {shape}, got {array.shape}.")
    return array


def _finite_array(name, value, ndim):
    """Return the array in float64, or raise where it is none of finite numbers."""
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if array.ndim != ndim or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be an array of {ndim} axes of finite numbers, got "
            f"{value!r}."
        )
    return array
