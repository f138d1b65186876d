"""Pre-aggregation: mix the workers first, then let another rule judge the mixtures."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks, _random
from jaxdist.geometry import _geometry
from jaxdist.rules import _rule

Premix = Callable[[Any, Any], jax.Array]


def _as_many(num_workers: int) -> int:
    """Return one mixture for each worker."""
    return num_workers


def mixed_count(
    num_byzantine: int, then: _rule.AggregationRule, spoilt: int = 1
) -> Callable[[int], int] | None:
    """Return how many are tolerated: no more than the next rule can.

    Args:
      num_byzantine: Corrupt workers for which the mixing is made.
      then: The rule that follows; behind one that promises nothing, nothing is.
      spoilt: How many mixtures a corrupt worker spoils.
    """
    count = then.contract.num_byzantine
    if count is None:
        return None
    return lambda num_workers: min(num_byzantine, count(num_workers) // spoilt)


def mixture_contract(
    num_byzantine: int,
    then: _rule.AggregationRule,
    kappa: Callable[[int, int], float],
    translation_equivariant: bool,
) -> _rule.RuleContract:
    """Return what is promised where all workers are mixed into as many.

    Args:
      num_byzantine: Corrupt workers for which the mixing is made.
      then: The rule that follows, whose range is that of both.
      kappa: Of the whole.
      translation_equivariant: Of the whole.
    """
    return _rule.RuleContract(
        mixed_count(num_byzantine, then),
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
    only_scales: bool = False,
    num_byzantine: int = 0,
    draws: bool = False,
) -> _rule.AggregationRule:
    """Return the rule that mixes with ``premix`` and goes on with ``then``.

    A rule that mixes itself never gets the mixtures as gradients. It sees their
    geometry, and both mixings together are one product of small matrices. Where rows
    are only scaled, the geometry is measured of the scaled rows, because that of the
    others lost their digits to the rows that were the longest. Where the rule trusts
    one worker as its anchor, the anchor is the mixture at that worker's place.

    Args:
      then: The rule that follows. It counts for as many attackers as it was made for;
        where more attack, the contract claims nothing.
      name: How reports and errors call what comes first.
      premix: ``(geometry, key) -> weights [m, W]``, or ``[W]`` where it only scales; a
        row of NaN is a mixture that is not finite.
      contract: Of the whole.
      num_mixtures: ``(num_workers) -> m``.
      sees: What ``premix`` is given.
      only_scales: Whether ``premix`` returns ``[W]``.
      num_byzantine: Corrupt workers for which the mixing is made; must lie in the range
        of the contract even where the next rule tolerates fewer.
      draws: Whether ``premix`` uses its key.
    """
    looks_again = only_scales and then.mix is not None

    def mix(sight, key, memory):
        keys = [_random.named_key(key, turn) for turn in ("before", "then")]
        if then.mix is None:
            first = premix(sees.seen_in(sight), keys[0])
            if then.linear:
                return _mean_of_mixtures(first, sight), memory
            return first, memory
        first = premix(sees.seen_in(_without_anchor(sight, then)), keys[0])
        first = _with_anchor(first, then.anchor)
        if looks_again:
            seen = sight.seen_again(then.sees, first)
        else:
            seen = then.sees.seen_in(sight.mixed(first))
        second, memory = then.mix(seen, keys[1] if then.draws else None, memory)
        return _geometry.compose_mixtures(second, first), memory

    whole_name = f"{name} then {then.name}"

    def requires(num_workers):
        _checks.byzantine_count(
            whole_name, num_byzantine, num_workers, contract.largest(num_workers)
        )
        then.check(num_mixtures(num_workers))

    return _rule.AggregationRule(
        whole_name,
        then.reduce,
        mix,
        contract,
        sees=_geometry.Geometry if then.mix and not only_scales else sees,
        needs_aligned=then.needs_aligned,
        anchor=None if then.trusted_worker is not None else then.anchor,
        init=lambda num_workers: then.init(num_mixtures(num_workers)),
        requires=requires,
        reduce_weighted=then.reduce_weighted,
        needs_everybody=then.needs_everybody,
        draws=draws or then.draws,
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
        weights = _as_matrix(weights)
        return jnp.concatenate([weights, weights[anchor][None]])
    if weights.ndim == 1:
        return jnp.append(weights, jnp.ones_like(weights[:1]))
    return jnp.pad(weights, ((0, 1), (0, 1))).at[-1, -1].set(1)


def _without_anchor(sight, then):
    """Leave out an anchor that is not mixed."""
    if then.anchor is None or then.trusted_worker is not None:
        return sight
    return sight.without_last()
