"""FLTrust: as much trust as a worker agrees with a gradient known to be clean."""

import jax.numpy as jnp

from jaxdist.geometry import _radii
from jaxdist.rules import _rule

_UNCERTAIN = 16  # roundings of a squared norm that a product of two gradients can hold


def fltrust() -> _rule.AggregationRule:
    r"""Weight the workers by the cosine of their angle to a reference gradient.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{\sum_i c_i}
       \sum_i c_i \frac{\|x_0\|}{\|x_i\|} x_i, \qquad
       c_i = \max\Big(0, \frac{\langle x_i, x_0 \rangle}{\|x_i\| \|x_0\|}\Big)

    with :math:`x_0` the reference, from a small clean dataset that all workers hold.
    It is given in every step: ``tx.update(updates, state, params, reference=...)``, or
    ``rule(stacked, anchor=...)``. Where no worker has its direction the result is 0.

    Returns:
      A rule that tolerates any f < W. Whatever the workers send, the result is no
      longer than the reference, and never against it. It is invariant to the scale of
      each worker, as long as that is no millionth of the others', which earns no trust,
      and not equivariant to translation.

    Communication:
      On the scatter route an all-reduce of 2W + 1 floats, for norms and distances from
      the reference.

    Example:
      >>> rows = jnp.array([[2.0, 0.0], [0.0, 50.0], [-9.0, 0.0]])
      >>> print(jaxdist.rules.fltrust()(rows, anchor=jnp.array([1.0, 0.0])))
      [1. 0.]

    References:
      Cao et al., `FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping
      <https://arxiv.org/abs/2012.13995>`_, 2021, Algorithm 2.
    """
    contract = _rule.RuleContract(
        _all_but_one,
        largest=_all_but_one,
        limit="f < W",
        translation_equivariant=False,
        scale_equivariant=False,
        knows_absent=True,
    )
    return _rule.AggregationRule(
        "fltrust()",
        mix=_trust_weights,
        sees=_radii.Radii,
        contract=contract,
        anchor="reference",
    )


def _all_but_one(num_workers):
    return num_workers - 1


def _trust_weights(geometry, key, memory):
    del key
    lengths = jnp.sqrt(jnp.where(geometry.finite, geometry.squared_norms, 0))
    divisor = jnp.where(lengths > 0, lengths, 1)[:-1]
    products = geometry.products()
    # Rounding alone would give a gradient short enough the angle it wishes for.
    products = jnp.where(products > _rounding_error(lengths), products, 0)
    # All cosines, times the length of the reference.
    trust = jnp.minimum(products / divisor, lengths[-1])
    total = jnp.sum(trust)
    shares = trust / jnp.where(total > 0, total, 1)
    weights = shares * lengths[-1] / divisor
    return jnp.append(weights, jnp.zeros_like(weights[:1]))[None], memory


def _rounding_error(lengths):
    """Return how large a product of a worker and the reference may be by chance."""
    squared = lengths**2
    epsilon = jnp.finfo(lengths.dtype).eps
    return _UNCERTAIN * epsilon * (squared[:-1] + squared[-1] + jnp.median(squared))
