"""Clipping: no gradient is longer than a radius."""

import dataclasses

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _norms
from jaxdist.rules import _pre_aggregation, _rule


def clipping(radius: float, then: _rule.AggregationRule) -> _rule.AggregationRule:
    r"""Shorten each gradient to a fixed norm, then aggregate.

    .. math:: y_i = \min\Big(1, \frac{\tau}{\|x_i\|}\Big)\, x_i, \qquad
       F(y_1, \dots, y_W)

    Norms are over the whole gradient. A worker that is not finite stays so.

    Args:
      radius: :math:`\tau > 0`, in units of the gradient's norm.
      then: :math:`F`, the rule for the clipped gradients, such as ``trimmed_mean(f)``.

    Returns:
      A rule that tolerates what ``then`` does. It is equivariant neither to translation
      nor to scale, and no constant of robustness is proved: clipped honest gradients
      have another mean. :func:`arc` chooses a radius for which one is.

    Raises:
      TypeError: If ``then`` is no rule.
      ValueError: If ``radius`` is not positive; when applied, if the number that
        ``then`` is to tolerate is too large for the number of workers.

    Communication:
      On the scatter route an all-reduce of 2W floats, for the norms, and one of
      :math:`W^2` where ``then`` needs distances: those of the clipped gradients.

    Example:
      >>> rule = jaxdist.rules.clipping(5.0, then=jaxdist.rules.mean())
      >>> print(rule(jnp.array([[3.0, 4.0], [30.0, 40.0]])))
      [3. 4.]

    References:
      Allouah et al., `Adaptive Gradient Clipping for Robust Federated Learning
      <https://arxiv.org/abs/2405.14432>`_, 2025, Section 3, as the static way.
    """
    radius = _checks.real("radius", radius, 0, above=True)
    _checks.instance(
        "then", then, _rule.AggregationRule, "jaxdist.rules.trimmed_mean(1)"
    )

    def premix(geometry, key):
        del key
        scales = jnp.minimum(1, radius / geometry.lengths)
        scales = jnp.where(geometry.finite, scales, jnp.nan)
        return jnp.where(geometry.present, scales, 0)

    contract = dataclasses.replace(
        then.contract,
        kappa=_rule.RuleContract().kappa,
        translation_equivariant=False,
        scale_equivariant=False,
        in_hull=False,
    )
    name = f"clipping({radius})"
    return _pre_aggregation.mix_before(
        then, name, premix, contract, sees=_norms.Norms, only_scales=True
    )
