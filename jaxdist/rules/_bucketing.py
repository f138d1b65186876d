"""Bucketing: average workers in small random groups before the rule sees them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _norms
from jaxdist.rules import _pre_aggregation, _rule
from jaxdist.rules.numerics import _lowest


def bucketing(
    bucket_size: int, num_byzantine: int, then: Callable[[int], _rule.AggregationRule]
) -> _rule.AggregationRule:
    r"""Replace each worker by the mean of its random bucket, then aggregate.

    .. math:: y_i = \frac{1}{|B(i)|} \sum_{j \in B(i)} x_j, \qquad
       F_{sf}(y_1, \dots, y_W)

    where :math:`B(i)` is the bucket of worker :math:`i`. A permutation that is drawn
    in every step cuts the workers into buckets of :math:`s`; the last bucket has the
    rest. Each bucket stands in the rows as often as it has workers, so a short bucket
    weighs less. The :math:`f` corrupt workers spoil at most :math:`f` buckets, which
    are :math:`sf` of the W rows: the next rule is made for as many. A bucket with a
    worker that is not finite is not finite.

    Args:
      bucket_size: :math:`s`, workers in a bucket, at least 1.
      num_byzantine: :math:`f`, corrupt workers; :math:`sf` must lie in the range of the
        next rule.
      then: What makes the rule for the buckets, called with :math:`sf`: ``krum``, or
        ``lambda f: nnm(f, then=trimmed_mean(f))``.

    Returns:
      A rule with an s-th of the variance between rows, equivariant to translation and
      scale as far as the next one is. It tolerates f, or an s-th of what the next one
      does where that is less. Which workers share a bucket depends on the key alone.

    Raises:
      TypeError: If ``then`` does not make a rule.
      ValueError: If ``bucket_size`` is not positive or ``num_byzantine`` negative; when
        applied, if :math:`sf` is too large for the next rule.

    Communication:
      On the scatter route an all-reduce of 2W floats, for which are finite, or of
      :math:`W^2` where ``then`` needs distances.

    Example:
      >>> rule = jaxdist.rules.bucketing(2, 1, then=jaxdist.rules.krum)
      >>> rule
      bucketing(2, 1) then krum(2)
      >>> print(rule(jnp.ones((8, 3)).at[5].set(100.0)))
      [1. 1. 1.]

    References:
      Karimireddy et al., `Byzantine-Robust Learning on Heterogeneous Datasets via
      Bucketing <https://arxiv.org/abs/2006.09365>`_, 2022, Algorithm 1. There the
      next rule sees one row for each bucket, however many workers it holds.
    """
    s = _checks.integer("bucket_size", bucket_size, 1)
    f = _checks.integer("num_byzantine", num_byzantine, 0)
    if not callable(then) or isinstance(then, _rule.AggregationRule):
        raise TypeError(
            "`then` must make a rule for a number of corrupt rows, such as "
            f"jaxdist.rules.krum or `lambda f: jaxdist.rules.median()`, got {then!r}."
        )
    rule = then(s * f)
    _checks.instance(
        "then", rule, _rule.AggregationRule, "jaxdist.rules.krum(2) when called"
    )

    def premix(geometry, key):
        finite = geometry.finite
        present = geometry.present
        place = jax.random.permutation(key, finite.shape[0])
        if geometry.weight is not None:
            # Those who are absent come last, and fill no bucket.
            place = _lowest.score_ranks(jnp.where(present, place, finite.shape[0]))
        bucket = place // s
        together = (bucket[:, None] == bucket[None]) & present[:, None] & present[None]
        weights = together.astype(geometry.squared_norms.dtype)
        weights /= jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1)
        spoilt = jnp.any(together & ~finite[None], axis=1)
        return jnp.where(spoilt[:, None], jnp.nan, weights)

    inner = rule.contract
    contract = _rule.RuleContract(
        _pre_aggregation.mixed_count(f, rule, spoilt=s),
        largest=lambda num_workers: inner.largest(num_workers) // s,
        limit=inner.limit if s == 1 else f"{inner.limit}, with {s}f for f",
        translation_equivariant=inner.translation_equivariant,
        scale_equivariant=inner.scale_equivariant,
        symmetric=False,
        in_hull=inner.in_hull,
        knows_absent=True,
    )
    name = f"bucketing({s}, {f})"
    return _pre_aggregation.mix_before(
        rule, name, premix, contract, sees=_norms.Norms, num_byzantine=f, draws=True
    )
