"""Fang's attack on the trimmed mean and the median: just outside, on the wrong side."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments

_NEAREST = 3.0  # standard deviations from the mean, of attackers that must estimate it
_FARTHEST = {"full": 2.0, "partial": 4.0}


def fang_trimmed_mean(
    knowledge: Literal["full", "partial"] = "full", reach: float | None = None
) -> _attack.Attack:
    r"""Send values beyond all honest ones, against the sign of their mean.

    .. math:: \text{full: between } m_j \text{ and } b^{\pm 1} m_j, \qquad
       \text{partial: between } \mu_j - 3 s_j \sigma_j \text{ and } \mu_j - b s_j
       \sigma_j, \qquad s_j = \mathrm{sign}(\mu_j)

    :math:`m_j` is the smallest honest value where :math:`s_j` is positive, and the
    largest elsewhere; the exponent is the one that leads outwards. Made for
    :func:`jaxdist.rules.trimmed_mean` and :func:`jaxdist.rules.median`.

    Args:
      knowledge: ``"full"``: the attackers see all updates. ``"partial"``: they see
        those of each other, before they corrupt them, and estimate :math:`\mu` and
        :math:`\sigma` from these.
      reach: :math:`b`, how far out they draw: with full knowledge a factor of at least
        1, no unit, 2 when None; with partial knowledge at least 3 standard deviations,
        4 when None.

    Returns:
      An attack of workers that collude. They draw independently and uniformly, again
      at every step.

    Raises:
      ValueError: If ``knowledge`` is unknown or ``reach`` is too small; when applied
        with full knowledge, if no worker is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 2.0, 6.0, 9.0])
      >>> sent = jaxdist.attacks.fang_trimmed_mean()(rows, num_byzantine=1)
      >>> print(0.5 <= sent[3] <= 1.0)
      True

    References:
      Fang et al., `Local Model Poisoning Attacks to Byzantine-Robust Federated Learning
      <https://arxiv.org/abs/1911.11815>`_, 2020, Section 4.3.
    """
    _checks.one_of("knowledge", knowledge, _FARTHEST)
    outer = _FARTHEST[knowledge] if reach is None else reach
    outer = _checks.real("reach", outer, 1.0 if knowledge == "full" else _NEAREST)

    def craft(seen, key):
        if knowledge == "full":
            near, far = _beyond_honest(seen.honest, outer)
        else:
            near, far = _beyond_estimate(seen.own, outer)
        drawn = jax.random.uniform(key, seen.own.shape, seen.own.dtype)
        return near[None] + drawn * (far - near)[None]

    name = f"fang_trimmed_mean({knowledge!r}, {outer})"
    num_honest = int(knowledge == "full")
    return _attack.colluding_attack(name, craft, num_honest, draws=True)


def _beyond_honest(honest, factor):
    """Return both ends of the interval that starts at an extreme honest value."""
    grows = _moments.mean_row(honest) > 0
    smallest = functools.reduce(jnp.minimum, honest)
    largest = functools.reduce(jnp.maximum, honest)
    near = jnp.where(grows, smallest, largest)
    far = jnp.where((near > 0) == grows, near / factor, near * factor)
    return near, far


def _beyond_estimate(own, num_deviations):
    """Return both ends of the interval, in standard deviations of the attackers."""
    mean = _moments.mean_row(own)
    outwards = jnp.where(mean > 0, -1, 1).astype(own.dtype) * _moments.deviation_row(
        own
    )
    return mean + _NEAREST * outwards, mean + num_deviations * outwards
