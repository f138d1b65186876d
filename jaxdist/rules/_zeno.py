"""Zeno: the workers with the gradients that would lower the loss most."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _radii
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _lowest


def zeno(
    num_byzantine: int, learning_rate: float, penalty: float
) -> _rule.AggregationRule:
    r"""Average the W - f workers with the best scores against a reference gradient.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W - f} \sum_{i \in T} x_i, \qquad
       s_i = \gamma \langle x_0, x_i \rangle - \rho \|x_i\|^2

    where :math:`T` are the :math:`W - f` of the largest :math:`s_i`, and :math:`x_0`
    is the reference, a gradient of the loss on data that no worker can corrupt. It is
    given in every step: ``tx.update(updates, state, params, reference=...)``, or
    ``rule(stacked, anchor=...)``. Ties go to the lowest index. Workers that are not
    finite are never chosen; with a reference that is not finite the result is 0.

    Args:
      num_byzantine: :math:`f`, corrupt workers tolerated, in [0, W-1].
      learning_rate: :math:`\gamma > 0`, of the step whose descent is judged; no unit.
      penalty: :math:`\rho \ge 0`, how much length counts against a worker; of the unit
        of ``learning_rate``.

    Returns:
      A rule that can tolerate a majority, equivariant neither to translation nor to
      scale.

    Raises:
      ValueError: If an argument is out of its range; when applied, if
        ``num_byzantine`` is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of 2W + 1 floats, for norms and distances from
      the reference.

    Example:
      >>> rule = jaxdist.rules.zeno(2, learning_rate=0.1, penalty=0.01)
      >>> rows = jnp.array([[2.0, 0.0], [-5.0, 0.0], [90.0, 0.0]])
      >>> print(rule(rows, anchor=jnp.array([1.0, 0.0])))
      [2. 0.]

    References:
      Xie et al., `Zeno: Distributed Stochastic Gradient Descent with Suspicion-based
      Fault-tolerance <https://arxiv.org/abs/1805.10032>`_, 2019, Definition 1. There
      the score is the descent of the loss itself, :math:`\ell(w) - \ell(w - \gamma
      x_i) - \rho \|x_i\|^2`, with W evaluations of W whole gradients; here it is that
      to first order, as in `Zeno++ <https://arxiv.org/abs/1903.07020>`_.
    """
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    learning_rate = _checks.real("learning_rate", learning_rate, 0, above=True)
    penalty = _checks.real("penalty", penalty, 0)

    def mix(geometry, key, memory):
        del key
        descent = learning_rate * geometry.products()
        losses = penalty * geometry.squared_norms[:-1] - descent
        losses = jnp.where(geometry.finite[:-1], losses, jnp.inf)
        weights = _lowest.mean_weights(
            losses, geometry.num_present(losses.shape[0]) - f
        )
        weights = jnp.where(geometry.finite[-1], weights, 0)
        return jnp.pad(weights, ((0, 0), (0, 1))), memory

    contract = _rule.RuleContract(
        _rule.constant_count(f),
        largest=lambda num_workers: num_workers - 1,
        limit="f < W",
        translation_equivariant=False,
        scale_equivariant=False,
        knows_absent=True,
    )
    name = f"zeno({f}, {learning_rate}, {penalty})"
    return _rule.AggregationRule(
        name,
        mix=mix,
        sees=_radii.Radii,
        contract=contract,
        anchor="reference",
    )
