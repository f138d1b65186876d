"""Pre-aggregation: mix the workers first, then let another rule judge the mixtures."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdist import _geometry, _random, _rule

Premix = Callable[[_geometry.Geometry, jax.Array], jax.Array]


def _as_many(num_workers: int) -> int:
    """Return one mixture for each worker."""
    return num_workers


def before(
    then: _rule.AggregationRule,
    name: str,
    premix: Premix,
    contract: _rule.RuleContract,
    num_mixtures: Callable[[int], int] = _as_many,
) -> _rule.AggregationRule:
    """Return the rule that mixes with ``premix`` and goes on with ``then``.

    The mixtures of a rule that mixes itself exist on paper only: it sees their
    geometry, and both mixings together are one product of small matrices.

    Args:
      then: The rule that follows.
      name: How reports and errors call what comes first.
      premix: ``(geometry, key) -> weights [m, W]``; a row of NaN is a mixture that is
        not finite.
      contract: Of the whole.
      num_mixtures: ``(num_workers) -> m``.
    """

    def mix(geometry, key, memory):
        keys = [_random.leaf_key(key, turn) for turn in range(2)]
        first = _with_anchor(premix, geometry, keys[0], then.anchor)
        if then.linear:
            return jnp.mean(first, axis=0, keepdims=True), memory
        if then.mix is None:
            return first, memory
        second, memory = then.mix(geometry.mixed(first), keys[1], memory)
        finite = jnp.isfinite(first)
        product = jnp.matmul(second, jnp.where(finite, first, 0), precision="highest")
        return product, memory

    return _rule.AggregationRule(
        f"{name} then {then.name}",
        then.reduce,
        mix,
        contract,
        needs_aligned=then.needs_aligned,
        anchor=then.anchor,
        init=lambda num_workers: then.init(num_mixtures(num_workers)),
        requires=lambda num_workers: then.check(num_mixtures(num_workers)),
    )


def _with_anchor(premix, geometry, key, anchor):
    """Mix the workers, and leave the anchor, the last row, as it is."""
    if anchor is None:
        return premix(geometry, key)
    distances, norms = geometry
    first = premix(_geometry.Geometry(distances[:-1, :-1], norms[:-1]), key)
    return jnp.pad(first, ((0, 1), (0, 1))).at[-1, -1].set(1)
