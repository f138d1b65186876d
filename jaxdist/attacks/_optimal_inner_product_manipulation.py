"""Optimal inner product manipulation: the scale that harms a rule most."""

from jaxdist.attacks import _attack, _moments, _search
from jaxdist.rules import _rule


def optimal_inner_product_manipulation(
    rule: _rule.AggregationRule,
    limit: float = 10.0,
    num_magnitudes: int = 16,
    num_refinements: int = 10,
) -> _attack.Attack:
    r"""Send the multiple of the honest mean that harms the rule most.

    .. math:: g_i \mapsto (1 - \tau)\mu, \qquad \tau = \arg\max_{|\tau| \le L}
       \|F(g_1, \dots, g_{n-f}, (1 - \tau)\mu, \dots) - \mu\|

    :func:`inner_product_manipulation` of scale :math:`\varepsilon = \tau - 1`, with the
    search of :func:`optimal_a_little_is_enough`. Where the updates hardly have a common
    direction, as late in training, only large scales harm: raise the limit.

    Args:
      rule: :math:`F`, with its pre-aggregation; usually that given to
        :func:`jaxdist.aggregate`. A rule with memory is judged by its first step.
      limit: :math:`L`, no unit.
      num_magnitudes: Shifts :math:`\tau` of either sign in the grid, at least 2, from a
        thousandth of the limit to the limit with equal ratios.
      num_refinements: How often the four most promising gaps are halved.

    Returns:
      An attack of workers that collude; all send the same. It asks the rule about
      ``2 num_magnitudes + 1 + 4 num_refinements`` shifts per step. For a rule that
      decides from distances and adds workers up, a shift takes :math:`O(W^2)`; for
      others a pass over all rows, a few columns at a time. It draws nothing unless the
      rule does. Of shifts that harm as much as the worst, within a millionth, it takes
      the smallest, and of two opposite shifts the positive one.

    Raises:
      TypeError: If ``rule`` is none.
      ValueError: If a number is out of range; when applied, if no worker is honest or
        the rule cannot work with so few workers.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 2.0, 3.0, 2.0])
      >>> mean = jaxdist.rules.mean()
      >>> attack = jaxdist.attacks.optimal_inner_product_manipulation(mean, limit=3.0)
      >>> print(attack(rows, num_byzantine=1))
      [ 1.  2.  3. -4.]

    References:
      Shejwalkar and Houmansadr, `Manipulating the Byzantine: Optimizing Model Poisoning
      Attacks and Defenses for Federated Learning
      <https://www.ndss-symposium.org/ndss-paper/manipulating-the-byzantine-optimizing-model-poisoning-attacks-and-defenses-for-federated-learning/>`_,
      2021; Allouah et al., `Fixing by Mixing: A Recipe for Optimal Byzantine ML under
      Heterogeneity <https://arxiv.org/abs/2302.01772>`_, 2023. They search upwards from
      a shift of zero only.
    """

    def direction(honest):
        return -_moments.mean_row(honest)

    return _search.optimal_attack(
        "optimal_inner_product_manipulation",
        rule,
        direction,
        limit,
        num_magnitudes,
        num_refinements,
    )
