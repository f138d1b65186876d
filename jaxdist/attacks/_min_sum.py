"""Min-sum: as far from all honest workers as one of them is."""

from typing import Literal

from jaxdist import _checks
from jaxdist.attacks import _attack, _spread


def min_sum(
    direction: _spread.Direction = "deviation",
    budget: Literal["max", "min"] = "max",
) -> _attack.Attack:
    r"""Go as far as the honest workers' sums of squared distances allow.

    .. math:: g_i \mapsto \mu + \gamma p, \qquad \gamma = \max \Big\{ \gamma :
       \sum_i \|\mu + \gamma p - g_i\|^2 \le \max_i \sum_j \|g_i - g_j\|^2 \Big\}

    Like :func:`min_max`, but harder to distinguish from honest workers, and so less
    harmful.

    Args:
      direction: :math:`p`: ``"mean"`` for :math:`-\mu/\|\mu\|`, ``"sign"`` for
        :math:`-\mathrm{sign}(\mu)`, ``"deviation"`` for :math:`-\sigma`.
      budget: ``"max"`` is the paper; ``"min"`` allows only as much as the honest worker
        closest to all others has, which is what its authors' code does.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn. Before
      it is rounded to the dtype of the leaf, what is sent keeps the constraint with a
      margin of 1e-3 of the sum.

    Raises:
      ValueError: If ``direction`` or ``budget`` is unknown; when applied, if no worker
        is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 2.0, 6.0, 9.0])
      >>> print(jaxdist.attacks.min_sum("sign")(rows, num_byzantine=1).round(2))
      [1. 2. 6. 0.]

    References:
      Shejwalkar and Houmansadr, `Manipulating the Byzantine: Optimizing Model Poisoning
      Attacks and Defenses for Federated Learning
      <https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/>`_,
      2021, Section IV-C. They halve an interval until it is small.
    """
    _checks.one_of("budget", budget, ("max", "min"))

    def shift_of(honest, along):
        return _spread.farthest_in_sum(honest, along, budget)

    name = f"min_sum({direction!r}, {budget!r})"
    return _spread.shifted_mean(name, direction, shift_of)
