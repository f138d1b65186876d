"""Min-max: as far from the mean as honest workers are from each other."""

from jaxdist.attacks import _attack, _spread


def min_max(direction: _spread.Direction = "deviation") -> _attack.Attack:
    r"""Go as far as the largest distance between two honest workers allows.

    .. math:: g_i \mapsto \mu + \gamma p, \qquad \gamma = \max \Big\{ \gamma :
       \max_i \|\mu + \gamma p - g_i\| \le \max_{i,j} \|g_i - g_j\| \Big\}

    The attackers know the honest updates, but not the rule. Distances are over the
    whole gradient. :math:`\gamma` solves quadratic equations, so it needs no search and
    keeps its constraint.

    Args:
      direction: :math:`p`: ``"mean"`` for :math:`-\mu/\|\mu\|`, ``"sign"`` for
        :math:`-\mathrm{sign}(\mu)`, ``"deviation"`` for :math:`-\sigma`.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn. Before
      it is rounded to the dtype of the leaf, what is sent keeps the constraint with a
      margin of 1e-3 of the squared distance.

    Raises:
      ValueError: If ``direction`` is unknown; when applied, if no worker is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 2.0, 6.0, 9.0])
      >>> print(jaxdist.attacks.min_max("sign")(rows, num_byzantine=1).round(2))
      [1. 2. 6. 1.]

    References:
      Shejwalkar and Houmansadr, `Manipulating the Byzantine: Optimizing Model Poisoning
      Attacks and Defenses for Federated Learning
      <https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/>`_,
      2021, Section IV-C. They halve an interval until it is small.
    """
    name = f"min_max({direction!r})"
    return _spread.shifted_mean(name, direction, _spread.farthest_shift)
