"""Choices: the rules and attacks of the library, by names of a command line."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxdist as jd

# Before another rule, joined to it by "+": arc+nnm+trimmed_mean.
BEFORE = ("arc", "bucketing", "clipping", "nnm")
# These need a trusted gradient, or change labels, which a flag cannot give.
_NO_FLAG = {"fltrust", "zeno", "label_flip"}


def _factories(family: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of a family by name."""
    found = {name: getattr(family, name) for name in dir(family)}
    return {
        name: factory
        for name, factory in found.items()
        if inspect.isfunction(factory) and name not in _NO_FLAG
    }


RULES = {k: v for k, v in _factories(jd.rules).items() if k not in BEFORE}
ATTACKS = _factories(jd.attacks)


def make_rule(words: str, byzantine: int, radius: float) -> jd.AggregationRule:
    """Return the rule of words such as ``krum`` or ``arc+nnm+trimmed_mean``."""
    *before, last = words.split("+")
    if last not in RULES or not set(before) <= set(BEFORE):
        raise ValueError(
            f"`rule` must be one of {', '.join(RULES)}; perhaps with "
            f"{', '.join(BEFORE)} before it, joined by '+', got {words!r}."
        )
    known = {
        "num_byzantine": byzantine,
        "radius": radius,
        "deviation": radius,
        "bucket_size": 2,
    }
    if "bucketing" in before[:-1]:
        raise ValueError("`rule` takes 'bucketing' only right before the last rule.")
    then: Any = _call(RULES[last], known)
    for name in reversed(before):
        if name == "bucketing":
            # How many buckets are bad, the rule behind them is told.
            then = functools.partial(make_rule, last, radius=radius)
        then = _call(getattr(jd.rules, name), {**known, "then": then})
    return then


def make_attack(name: str, scale: float | None, rule: jd.AggregationRule) -> jd.Attack:
    """Return an attack; those that are optimal know the rule."""
    known: dict[str, Any] = {"rule": rule}
    if scale is not None:
        known["scale"] = scale
        if "scale" not in inspect.signature(ATTACKS[name]).parameters:
            raise ValueError(f"`attack_scale` is nothing that {name} asks for.")
    return _call(ATTACKS[name], known)


def _call(factory: Callable[..., Any], known: dict[str, Any]) -> Any:
    """Call a factory with those of its arguments that are known."""
    wanted = inspect.signature(factory).parameters
    return factory(**{name: known[name] for name in wanted if name in known})
