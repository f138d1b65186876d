"""Coordinate shift: hide a large error in few of many coordinates."""

import math

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments, _spread


def coordinate_shift(
    scale: float | None = None, coordinate: int | None = 0
) -> _attack.Attack:
    r"""Send the honest mean with one coordinate shifted, or all of them.

    .. math:: g_i \mapsto \mu + \gamma e_j

    Distances over :math:`d` coordinates grow as :math:`\sqrt d`. An attacker can put
    the whole distance into one coordinate, and rules that select by distance accept it.
    Bulyan was made against this attack.

    Args:
      scale: :math:`\gamma`, in the unit of the updates, of either sign. None takes the
        largest for which no distance to an honest worker exceeds the largest distance
        between two of them, as in :func:`min_max`.
      coordinate: :math:`j`, counted over all leaves in row-major order; None shifts all
        coordinates by :math:`\gamma`.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: If ``scale`` is not finite or ``coordinate`` is negative; when
        applied, if there are not so many coordinates, or if no worker is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([[1.0, 2.0], [3.0, 2.0], [7.0, 7.0]])
      >>> print(
      ...     jaxdist.attacks.coordinate_shift(5.0, coordinate=1)(rows, num_byzantine=1)
      ... )
      [[1. 2.]
       [3. 2.]
       [2. 7.]]

    References:
      El Mhamdi et al., `The Hidden Vulnerability of Distributed Learning in Byzantium
      <https://arxiv.org/abs/1802.07927>`_, 2018, Section 3.
    """
    if scale is not None:
        scale = _checks.real("scale", scale, -math.inf)
    if coordinate is not None:
        coordinate = _checks.integer("coordinate", coordinate, 0)
    arguments = "" if scale is None else f"{scale}, "
    name = f"coordinate_shift({arguments}coordinate={coordinate})"

    def craft(seen, key):
        del key
        mean = _moments.mean_row(seen.honest)
        direction = jnp.ones_like(mean)
        if coordinate is not None:
            _checks.integer("coordinate", coordinate, 0, mean.size - 1)
            direction = jnp.zeros_like(mean).at[coordinate].set(1)
        if scale is None:
            return mean + _spread.farthest_shift(seen.honest, direction) * direction
        return mean + scale * direction

    return _attack.colluding_attack(name, craft)
