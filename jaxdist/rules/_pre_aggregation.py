"""Pre-aggregation: mix the workers first, then let another rule judge the mixtures."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _random
from jaxdist.geometry import _geometry
from jaxdist.rules import _rule

Premix = Callable[[Any, jax.Array], jax.Array]


def _as_many(num_workers: int) -> int:
    """Return one mixture for each worker."""
    return num_workers


def mixture_contract(
    num_byzantine: int,
    then: _rule.AggregationRule,
    kappa: Callable[[int, int], float],
    translation_equivariant: bool,
) -> _rule.RuleContract:
    """Return what is promised where all workers are mixed into as many.

    Args:
      num_byzantine: Corrupt workers tolerated.
      then: The rule that follows, whose range is that of both.
      kappa: Of the whole.
      translation_equivariant: Of the whole.
    """
    return _rule.RuleContract(
        _rule.constant_count(num_byzantine),
        largest=then.contract.largest,
        limit=then.contract.limit,
        kappa=kappa,
        translation_equivariant=translation_equivariant,
        scale_equivariant=then.contract.scale_equivariant,
        knows_absent=True,
    )


def mix_before(
    then: _rule.AggregationRule,
    name: str,
    premix: Premix,
    contract: _rule.RuleContract,
    num_mixtures: Callable[[int], int] = _as_many,
    sees: type[_rule.Sight] = _geometry.Geometry,
) -> _rule.AggregationRule:
    """Return the rule that mixes with ``premix`` and goes on with ``then``.

    A rule that mixes itself never gets the mixtures as gradients. It sees their
    geometry, and both mixings together are one product of small matrices. Where the
    rule trusts one worker as its anchor, the anchor is the mixture at that worker's
    place.

    Args:
      then: The rule that follows. It counts for as many attackers as it was made for;
        where more attack, the contract claims nothing.
      name: How reports and errors call what comes first.
      premix: ``(geometry, key) -> weights [m, W]``, or ``[W]`` where it only scales; a
        row of NaN is a mixture that is not finite.
      contract: Of the whole.
      num_mixtures: ``(num_workers) -> m``.
      sees: What ``premix`` is given.
    """

    def mix(geometry, key, memory):
        keys = [_random.named_key(key, turn) for turn in ("before", "then")]
        if then.mix is None:
            first = premix(geometry, keys[0])
            if then.linear:
                return _mean_of_mixtures(first, geometry), memory
            return first, memory
        first = _as_matrix(
            premix(sees.seen_in(_without_anchor(geometry, then)), keys[0])
        )
        first = _with_anchor(first, then.anchor)
        mixed = geometry.mixed(first).with_weight(geometry.weight)
        seen = then.sees.seen_in(mixed)
        second, memory = then.mix(seen, keys[1], memory)
        finite = jnp.isfinite(first)
        product = jnp.matmul(
            _as_matrix(second), jnp.where(finite, first, 0), precision="highest"
        )
        return product, memory

    return _rule.AggregationRule(
        f"{name} then {then.name}",
        then.reduce,
        mix,
        contract,
        sees=_geometry.Geometry if then.mix else sees,
        needs_aligned=then.needs_aligned,
        anchor=None if then.trusted_worker is not None else then.anchor,
        init=lambda num_workers: then.init(num_mixtures(num_workers)),
        requires=lambda num_workers: then.check(num_mixtures(num_workers)),
        reduce_weighted=then.reduce_weighted,
    )


def _as_matrix(weights):
    """Return ``[m, W]`` also where ``[W]`` only scales."""
    return jnp.diag(weights) if weights.ndim == 1 else weights


def _mean_of_mixtures(weights, sight):
    """Return the weights ``[1, W]`` of the mean of all mixtures."""
    if sight.weight is not None:
        shares = _rule.mean_shares(sight.weight).astype(weights.dtype)
        return (shares @ _as_matrix(weights))[None]
    if weights.ndim == 1:
        return weights[None] / weights.size
    return jnp.mean(weights, axis=0, keepdims=True)


def _with_anchor(weights, anchor):
    """Append what the mixtures are compared with: one of them, or what is not mixed."""
    if anchor is None:
        return weights
    if isinstance(anchor, int):
        return jnp.concatenate([weights, weights[anchor][None]])
    return jnp.pad(weights, ((0, 1), (0, 1))).at[-1, -1].set(1)


def _without_anchor(geometry, then):
    """Leave out an anchor that is not mixed."""
    if then.anchor is None or then.trusted_worker is not None:
        return geometry
    return _geometry.Geometry(
        squared_norms=geometry.squared_norms[:-1],
        squared_distances=geometry.squared_distances[:-1, :-1],
        weight=geometry.weight,
    )
