"""Check rule: every promise of an aggregation rule, tried."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxdist import _checks
from jaxdist.attacks import (
    _a_little_is_enough,
    _anti_comparative_elimination,
    _attack,
    _coordinate_shift,
    _fang_krum,
    _fang_trimmed_mean,
    _gaussian,
    _inner_product_manipulation,
    _learned_mimic,
    _mimic,
    _min_max,
    _min_sum,
    _optimal_a_little_is_enough,
    _optimal_inner_product_manipulation,
    _sign_flip,
)
from jaxdist.rules import _rule
from jaxdist.testing import _check_compressor, _rule_properties

_TRIED: dict[str, Callable[[_rule_properties.RuleSetting], str]] = {
    "shape_and_dtype": _rule_properties.shape_and_dtype,
    "permutation": _rule_properties.permutation,
    "translation": _rule_properties.translation,
    "scale": _rule_properties.scale,
    "unanimity": _rule_properties.unanimity,
    "absence": _rule_properties.absence,
    "float64": _rule_properties.float64,
    "sharded": _rule_properties.sharded,
    "hull": _rule_properties.hull,
    "bounded": _rule_properties.bounded,
    "not_finite": _rule_properties.not_finite,
    "resilience": _rule_properties.resilience,
    "kappa": _rule_properties.kappa,
    "other_numbers": _rule_properties.other_numbers,
}

_PROMISES = {
    name: f" `RuleContract({field})` promises this."
    for name, field in {
        "permutation": "symmetric=True",
        "translation": "translation_equivariant=True",
        "scale": "scale_equivariant=True",
        "unanimity": "translation_equivariant=True",
        "absence": "knows_absent=True",
        "hull": "in_hull=True",
        "bounded": "num_byzantine=...",
        "not_finite": "num_byzantine=...",
        "resilience": "kappa=...",
        "kappa": "kappa=...",
    }.items()
}

RULE_PROPERTIES = tuple(_TRIED)
"""What :func:`check_rule` can check, in the order in which it does."""


class RuleReport(NamedTuple):
    """What :func:`check_rule` returns; ``print`` shows a table."""

    rule: str
    properties: tuple[_check_compressor.PropertyReport, ...]

    def __str__(self):
        width = max(len(row.property) for row in self.properties)
        lines = [f"{row.property:<{width}}  {row.detail}" for row in self.properties]
        return "\n".join([f"{self.rule} keeps its contract", *lines])


def check_rule(
    rule: _rule.AggregationRule,
    *,
    properties: Iterable[str] = RULE_PROPERTIES,
    num_workers: int = 9,
    size: int = 61,
    oracle: Callable[[np.ndarray], Any] | None = None,
    attacks: Iterable[_attack.Attack] | None = None,
    more_workers: int = 70,
    seed: int = 0,
) -> RuleReport:
    r"""Raise unless an aggregation rule keeps every promise of its contract.

    Tried are shapes and dtypes; that the order of the workers does not matter;
    equivariance to translation and scale; that unanimous workers get their way; that a
    worker of weight 0 is not there; an oracle in float64, also where all share a large
    mean; the route scatter compared with stacked gradients; that attackers, near, far,
    not finite or with any attack of the list, move the result little; that neither
    those, nor attacks that are optimized against this rule, nor far ones where all
    share a large mean, nor an adversarial search (:func:`estimate_kappa`) exceed
    :math:`\kappa`; and the first of these once more with another number of workers.

    Args:
      rule: The rule, ours or your own.
      properties: Which of :data:`RULE_PROPERTIES` to check; what the contract does not
        promise passes.
      num_workers: W, enough for the rule.
      size: Coordinates of each worker, at least 8.
      oracle: Maps rows ``[W, size]`` in float64 to the result ``[size]``, or None.
      attacks: For ``bounded`` and ``resilience``; one of each kind that so many
        attackers can carry out when None, and for ``resilience`` also both optimal
        attacks on this rule.
      more_workers: W for ``other_numbers``: even and beyond 64 by default, where other
        mistakes show. Where the rule cannot work with so many, fewer are taken.
      seed: Of the rows.

    Returns:
      What was checked, to print.

    Raises:
      AssertionError: If promises are broken: which, where, by how much, and the field
        that makes each.
      ValueError: If an argument is out of range, or W too small for the rule.
      TypeError: If ``rule`` is none.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> report = jaxdist.testing.check_rule(
      ...     jaxdist.rules.median(), properties=["permutation", "not_finite"]
      ... )
      >>> print(report)
      median() keeps its contract
      permutation  equal to 0
      not_finite   4 with NaN, infinity or both; zero for 5
    """
    _checks.instance("rule", rule, _rule.AggregationRule, "jaxdist.rules.median()")
    num_workers = _checks.integer("num_workers", num_workers, 1)
    if oracle is not None:
        _checks.function("oracle", oracle, "of rows [W, size] that returns [size]")
    if attacks is not None:
        attacks = _check_compressor.listed("attacks", attacks)
        for attack in attacks:
            _checks.instance("attacks", attack, _attack.Attack, "sign_flip()")
    rule.check(num_workers)
    setting = _rule_properties.RuleSetting(
        rule,
        num_workers,
        _checks.integer("size", size, 8),
        _checks.integer("seed", seed, 0),
        oracle,
        _possible_attacks(rule, num_workers) if attacks is None else tuple(attacks),
        _optimal_attacks(rule) if attacks is None else (),
        _checks.integer("more_workers", more_workers, 1),
    )
    names = _check_compressor.chosen_properties(properties, RULE_PROPERTIES)
    found = {
        name: _check_compressor.try_property(_TRIED[name], setting)
        for name in names
        if _rule_properties.is_promised(setting, name)
    }
    _check_compressor.raise_broken(rule.name, found, _PROMISES)
    return RuleReport(rule.name, _check_compressor.report_rows(names, found))


def _possible_attacks(
    rule: _rule.AggregationRule, num_workers: int
) -> tuple[_attack.Attack, ...]:
    """Return the attacks that as many as the rule tolerates can carry out."""
    tolerated = rule.contract.tolerated(num_workers)

    def is_possible(attack):
        try:
            attack.check_numbers(num_workers, tolerated)
        except ValueError:
            return False
        return True

    return tuple(filter(is_possible, _default_attacks()))


@functools.cache
def _default_attacks() -> tuple[_attack.Attack, ...]:
    """Return one attack of each kind, the same for all rules: they compile once."""
    return (
        _sign_flip.sign_flip(),
        _sign_flip.sign_flip(10.0),
        _gaussian.gaussian(),
        _inner_product_manipulation.inner_product_manipulation(),
        _min_max.min_max(),
        _min_sum.min_sum(),
        _mimic.mimic(),
        _learned_mimic.learned_mimic(),
        _coordinate_shift.coordinate_shift(),
        _a_little_is_enough.a_little_is_enough(1.5),
        _anti_comparative_elimination.anti_comparative_elimination(),
        _fang_krum.fang_krum(),
        _fang_trimmed_mean.fang_trimmed_mean(),
    )


def _optimal_attacks(rule: _rule.AggregationRule) -> tuple[_attack.Attack, ...]:
    """Return the attacks that try a few magnitudes on this rule."""
    return tuple(
        attack(rule, num_magnitudes=4, num_refinements=2)
        for attack in (
            _optimal_inner_product_manipulation.optimal_inner_product_manipulation,
            _optimal_a_little_is_enough.optimal_a_little_is_enough,
        )
    )
