"""CGE: comparative gradient elimination, the mean of the shortest gradients."""

from jaxdist import _checks
from jaxdist.geometry import _norms
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _lowest


def cge(num_byzantine: int) -> _rule.AggregationRule:
    r"""Average the W - f workers with the smallest norms.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W - f} \sum_{i \le W - f} x_{(i)}, \qquad
       \|x_{(1)}\| \le \dots \le \|x_{(W)}\|

    Norms are over the whole gradient. Ties go to the lowest index. Workers that are
    not finite are left out.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, (W-1)/2].

    Returns:
      A rule equivariant to scaling and rotation, not to translation. It needs honest
      gradients that vanish together: no constant :math:`\kappa` holds, because
      attackers may send short vectors.

    Raises:
      ValueError: If ``num_byzantine`` is negative; when applied, if it is too large
        for the number of workers.

    Communication:
      On the scatter route an all-reduce of 2W floats, for the norms.

    Example:
      >>> print(jaxdist.rules.cge(1)(jnp.array([[1.0], [2.0], [3.0], [-100.0]])))
      [2.]

    References:
      Gupta, Liu and Vaidya, `Byzantine Fault-Tolerant Distributed Machine Learning
      Using Stochastic Gradient Descent (SGD) and Norm-Based Comparative Gradient
      Elimination (CGE) <https://arxiv.org/abs/2008.04699>`_, 2021. The mean, not the
      sum.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)

    def mix(geometry, key, memory):
        del key
        norms = geometry.squared_norms
        return _lowest.mean_weights(
            geometry.or_inf(norms), geometry.num_present(norms.shape[0]) - f
        ), memory

    contract = _rule.RuleContract(
        _rule.constant_count(f), translation_equivariant=False, knows_absent=True
    )
    return _rule.AggregationRule(
        f"cge({f})", mix=mix, sees=_norms.Norms, contract=contract
    )
