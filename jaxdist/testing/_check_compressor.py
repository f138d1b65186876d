"""Check compressor: every promise of a contract, tried."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.testing import (
    _agreement,
    _independence,
    _long_leaves,
    _mean_test,
    _memory,
    _narrow_dtypes,
    _payload,
    _programs,
    _projection,
    _run,
    _shapes,
    _unbiasedness,
    _values,
    _variance,
)

_EXACT: dict[str, Callable[[_run.Setting], str]] = {
    "shape_and_dtype": _shapes.shape_and_dtype,
    "state": _shapes.state,
    "payload": _payload.payload,
    "blocks": _payload.blocks,
    "accumulate": _payload.accumulate,
    "determinism": _programs.determinism,
    "transformations": _programs.transformations,
    "zeros": _values.zeros,
    "extremes": _values.extremes,
    "not_finite": _values.not_finite,
    "linearity": _agreement.linearity,
    "alignment": _agreement.alignment,
    "memory": _memory.memory,
    "projection": _projection.projection,
}


class _Statistics(NamedTuple):
    """How a statistical property is measured, and what its alarm says."""

    means: Callable[[_run.Setting], Iterable[_mean_test.Means]]
    sentence: Callable[[_mean_test.Verdict], str]


def _bound_or_bias(verdict: _mean_test.Verdict) -> str:
    """Say which bound is exceeded, or what is biased, of a property that tries both."""
    is_bound = verdict.means.one_sided
    return (_variance if is_bound else _unbiasedness).alarm_sentence(verdict)


_STATISTICAL: dict[str, _Statistics] = {
    "variance": _Statistics(_variance.excess_means, _variance.alarm_sentence),
    "unbiasedness": _Statistics(
        _unbiasedness.error_means, _unbiasedness.alarm_sentence
    ),
    "independence": _Statistics(
        _independence.product_means, _independence.alarm_sentence
    ),
    "long_leaves": _Statistics(_long_leaves.error_means, _bound_or_bias),
    "narrow_dtypes": _Statistics(_narrow_dtypes.error_means, _bound_or_bias),
}

_VECTOR, _MATRIX = (61,), (9, 8)

_PROMISES = {
    name: f" `{field}` promises this."
    for name, field in {
        "blocks": "Contract(splittable=True)",
        "accumulate": "Compressor(accumulate=...)",
        "linearity": "Contract(linear=True)",
        "alignment": "Contract(aligned=True)",
        "projection": "Contract(projection=True)",
        "variance": "Contract(variance=...)",
        "unbiasedness": "Contract(unbiased=True)",
        "independence": "Contract(stochastic=True)",
        "long_leaves": "Contract(unbiased=..., variance=...)",
        "narrow_dtypes": "Contract(unbiased=..., variance=...)",
    }.items()
}

PROPERTIES = (*_EXACT, *_STATISTICAL)
"""What :func:`check_compressor` can check, in the order in which it does."""


class PropertyReport(NamedTuple):
    """What was found about one property."""

    property: str
    promised: bool
    """Whether the contract promises it at all; what it does not is not checked."""
    detail: str
    """On what it was tried, and how close it came to its bound."""


class CompressorReport(NamedTuple):
    """What :func:`check_compressor` returns; ``print`` shows a table."""

    compressor: str
    properties: tuple[PropertyReport, ...]
    false_alarm: float
    """The probability that a compressor that keeps its promises fails such a call."""

    def __str__(self):
        rows = [(name, detail) for name, _, detail in self.properties]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {detail}" for name, detail in rows]
        head = (
            f"{self.compressor} keeps its contract (false alarm {self.false_alarm:g})"
        )
        return "\n".join([head, *lines])


def check_compressor(
    compressor: _compressor.Compressor,
    *,
    properties: Iterable[str] = PROPERTIES,
    shape: tuple[int, ...] | None = None,
    nbytes: Mapping[int, int] | None = None,
    variance: float | Callable[[int], float] | None = None,
    contraction: float | Callable[[int], float] | None = None,
    shared_randomness: bool = False,
    num_draws: int = 10_000,
    false_alarm: float = 1e-6,
    seed: int = 0,
) -> CompressorReport:
    r"""Raise unless a compressor keeps every promise of its contract.

    Properties without randomness are tried on fixed leaves: ordinary, heavy-tailed,
    flat, sparse, one-hot, zero, denormal, from 1e-30 to 1e30, and with NaN or infinity.
    ``memory`` asks what is sent of what was dropped before, and whether what says
    nothing forgets. The others are tested with statistics over random leaves and keys:
    ``unbiasedness`` (the mean error of each element, of the negative, the zero, the
    largest elements and others, and along several directions), ``variance`` (which is
    the contraction too), both also on leaves of thousands of elements in 64 blocks
    (``long_leaves``) and of bfloat16 and float16 (``narrow_dtypes``), and
    ``independence``. With S the sum and V the sum of squares of a statistic
    over n draws, the alarm is

    .. math:: |S| > \tfrac{11}{6\sqrt 2} \sqrt{2LV}, \qquad
       L = \log(14 \cdot \text{statistics of this call} / \text{false_alarm}).

    No range and no normal approximation enters. What is assumed is that the kurtosis of
    every statistic is at most :math:`n/(8L)`, about n/200: an error that matters for
    the mean happens in at least one of n/200 draws. The leaves vary from draw to draw,
    so quantizers satisfy this; what keeps each element with a probability below 300/n
    needs more draws. Statistics that are all zero but for rounding pass.

    Args:
      compressor: The compressor, ours or your own.
      properties: Which of :data:`PROPERTIES` to check; what the contract does not
        promise passes.
      shape: Shape of the leaves of most properties, of at least 8 elements. None is a
        vector of 61; or a matrix, for what compresses matrices and sends vectors as
        they are.
      nbytes: Maps numbers of float32 elements to the bytes that the payload must have.
      variance: Bound :math:`\omega` on the squared error, instead of the contract's: a
        number, or a function of the number of elements in a block.
      contraction: :math:`\delta`, in place of ``variance``: the bound is
        :math:`1-\delta`.
      shared_randomness: Whether workers may draw the same random numbers although the
        compressor is not linear; one that is may anyway.
      num_draws: Leaves, each with its own keys, per kind of leaf; at least 1000. Half
        the bias is detected with four times as many. Of long leaves and of narrow ones
        a tenth is drawn, for which the kurtosis may be a tenth.
      false_alarm: Probability in [1e-9, 0.5] that a compressor that keeps its promises
        fails this call, over all its statistics.
      seed: Of leaves and keys.

    Returns:
      What was checked, to print.

    Raises:
      AssertionError: If promises are broken: which, on which input, by how much, and
        the field that makes each.
      ValueError: If an argument is out of range.
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> report = jaxdist.testing.check_compressor(
      ...     jaxdist.compression.top_k(0.1),
      ...     properties=["payload", "linearity"],
      ...     nbytes={100: 50},
      ... )
      >>> print(report)
      top_k(0.1) keeps its contract (false alarm 1e-06)
      payload    35 bytes for 61 elements
      linearity  not promised

    References:
      Delyon, `Exponential inequalities for sums of weakly dependent variables
      <https://doi.org/10.1214/EJP.v14-636>`_, 2009. Maurer, `A bound on the deviation
      probability for sums of non-negative random variables
      <https://www.emis.de/journals/JIPAM/article251.html>`_, 2003.
    """
    names = chosen_properties(properties, PROPERTIES)
    setting = _checked_setting(
        compressor,
        shape=shape,
        nbytes=nbytes,
        variance=variance,
        contraction=contraction,
        shared_randomness=shared_randomness,
        num_draws=num_draws,
        seed=seed,
    )
    false_alarm = _checks.real("false_alarm", false_alarm, 1e-9, 0.5, static=True)
    found = _exact_findings(setting, names)
    found |= _statistical_findings(setting, names, false_alarm)
    raise_broken(compressor.name, found, _PROMISES)
    details = {name: str(found[name]) for name in names if name in found}
    return CompressorReport(compressor.name, report_rows(names, details), false_alarm)


def report_rows(
    names: Iterable[str], details: Mapping[str, str]
) -> tuple[PropertyReport, ...]:
    """Return a row for each property, also for those that are not promised."""
    return tuple(
        PropertyReport(name, name in details, details.get(name, "not promised"))
        for name in names
    )


def chosen_properties(properties: Iterable[str], allowed: tuple[str, ...]) -> list[str]:
    """Return the properties in the order in which they are checked."""
    asked = listed("properties", properties)
    for name in asked:
        _checks.one_of("properties", name, allowed)
    return [name for name in allowed if name in asked]


def listed(name: str, values: Any) -> list[Any]:
    """Return several values as a list, or raise when they are not several."""
    if isinstance(values, str):
        return [values]
    if not isinstance(values, Iterable):
        raise TypeError(f"`{name}` must be several in a list, got {values!r}.")
    return list(values)


def promised_properties(
    compressor: _compressor.Compressor, properties: Iterable[str], **options: Any
) -> list[str]:
    """Return those that the contract promises, in the order in which they are given."""
    asked = listed("properties", properties)
    chosen_properties(asked, PROPERTIES)
    options.pop("false_alarm", None)
    setting = _checked_setting(compressor, **options)
    return [name for name in asked if _is_promised(setting, name)]


def _checked_setting(
    compressor: _compressor.Compressor,
    *,
    shape: tuple[int, ...] | None = None,
    nbytes: Mapping[int, int] | None = None,
    variance: float | Callable[[int], float] | None = None,
    contraction: float | Callable[[int], float] | None = None,
    shared_randomness: bool = False,
    num_draws: int = 10_000,
    seed: int = 0,
) -> _run.Setting:
    """Return how the compressor is tested, or say which argument is out of range."""
    _per_leaf.check_compressor("compressor", compressor)
    contract = compressor.contract
    _checks.flag("shared_randomness", shared_randomness)
    num_draws = _checks.integer("num_draws", num_draws, 1000)
    return _run.Setting(
        compressor,
        _usual_shape(compressor) if shape is None else _checked_shape(shape),
        num_draws if contract.stochastic else 1000,
        _checks.integer("seed", seed, 0),
        variance=_bound_sentence(contract, variance, contraction),
        independent=not (shared_randomness or contract.linear),
        nbytes=_checked_nbytes(nbytes),
    )


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape that is large enough for the inputs to differ."""
    if isinstance(shape, str) or not isinstance(shape, Iterable):
        raise TypeError(f"`shape` must be a tuple of integers, got {shape!r}.")
    sizes = tuple(_checks.integer("shape", size, 1) for size in shape)
    _checks.integer("shape", math.prod(sizes), 8)
    return sizes


def _checked_nbytes(nbytes: Mapping[int, int] | None) -> dict[int, int]:
    """Return the bytes that are expected of so many elements."""
    if not isinstance(nbytes, Mapping | None):
        raise TypeError(
            "`nbytes` must map numbers of elements to bytes, such as {100: 50}, got "
            f"{nbytes!r}."
        )
    return {
        _checks.integer("nbytes", size, 1): _checks.integer(f"nbytes[{size}]", value, 0)
        for size, value in (nbytes or {}).items()
    }


def _usual_shape(compressor: _compressor.Compressor) -> tuple[int, ...]:
    """Return a shape that the compressor makes smaller: of a vector, or of a matrix."""
    try:
        shrinks = {
            shape: _per_leaf.payload_nbytes(compressor, like) < _tree.leaf_nbytes(like)
            for shape in (_VECTOR, _MATRIX)
            for like in [jax.ShapeDtypeStruct(shape, jnp.float32)]
        }
    except Exception:
        return _VECTOR  # whose error the properties report
    return _MATRIX if shrinks[_MATRIX] and not shrinks[_VECTOR] else _VECTOR


def _bound_sentence(
    contract: _compressor.Contract,
    variance: float | Callable[[int], float] | None,
    contraction: float | Callable[[int], float] | None,
) -> Callable[[int], float]:
    """Return the bound on the squared error as a function of the size of a block."""
    if variance is not None and contraction is not None:
        raise ValueError(
            "`variance` and `contraction` bound the same: give one of them."
        )
    if contraction is not None:
        delta = _as_function("contraction", contraction)
        return lambda size: 1.0 - delta(size)
    return _as_function("variance", contract.variance if variance is None else variance)


def _as_function(
    name: str, value: float | Callable[[int], float]
) -> Callable[[int], float]:
    """Return a function of the size, from a number or a function."""
    if callable(value):
        return value
    _checks.real(name, value, -math.inf)
    return lambda size: value


def _is_promised(setting: _run.Setting, name: str) -> bool:
    """Whether the contract promises it."""
    contract = setting.compressor.contract
    bound, long_bound = (x.variance(x.size) for x in (setting, setting.long))
    promised = {
        "blocks": contract.splittable,
        "accumulate": setting.compressor.accumulate is not None,
        "linearity": contract.linear,
        "alignment": contract.aligned,
        "variance": math.isfinite(bound),
        "unbiasedness": contract.unbiased,
        "independence": contract.stochastic and setting.independent,
        "projection": contract.projection,
        "long_leaves": contract.unbiased or math.isfinite(long_bound),
        "narrow_dtypes": contract.unbiased or math.isfinite(bound),
    }
    return promised.get(name, True)


Findings = dict[str, str | Exception]


def _exact_findings(setting: _run.Setting, chosen: list[str]) -> Findings:
    """Return what the properties without statistics were tried on, or their errors."""
    return {
        name: try_property(_EXACT[name], setting)
        for name in chosen
        if name in _EXACT and _is_promised(setting, name)
    }


def try_property(check: Callable[[Any], Any], setting: Any) -> Any:
    """Return what a property was tried on, or the error that it found.

    What is broken elsewhere may break a property with another error than its own.
    """
    try:
        return check(setting)
    except Exception as error:
        return error


def raise_broken(
    name: str, found: Mapping[str, Any], promises: Mapping[str, str]
) -> None:
    """Raise all that is broken as one error, with what promised it.

    Args:
      name: Of the compressor or rule.
      found: Of each property an error, or what it was tried on.
      promises: Of each property, the field that makes the promise.
    """
    broken = {x: error for x, error in found.items() if isinstance(error, Exception)}
    if not broken:
        return
    sentences = []
    for property_name, error in broken.items():
        said = str(error)
        if not isinstance(error, AssertionError):
            said = f"it raised {type(error).__name__}: {said}"
        promise = promises.get(property_name, "")
        sentences.append(f"{name} breaks {property_name!r}: {said.rstrip()}{promise}")
    if len(sentences) > 1:
        sentences.insert(0, f"{name} breaks {len(broken)} promises.")
    error = next(iter(broken.values()))
    cause = error.__cause__ if isinstance(error, AssertionError) else error
    raise AssertionError("\n".join(sentences)) from cause


def _statistical_findings(
    setting: _run.Setting, chosen: list[str], false_alarm: float
) -> Findings:
    """Take all statistics first: their number decides the bound of each."""
    means = {
        name: try_property(
            lambda setting, name=name: list(_STATISTICAL[name].means(setting)), setting
        )
        for name in chosen
        if name in _STATISTICAL and _is_promised(setting, name)
    }
    taken = [group for x in means.values() if isinstance(x, list) for group in x]
    log = _mean_test.alarm_level(false_alarm, sum(len(group.labels) for group in taken))
    return {
        name: _judge_means(name, groups, log, false_alarm)
        if isinstance(groups, list)
        else groups
        for name, groups in means.items()
    }


def _judge_means(
    name: str, groups: list[_mean_test.Means], log: float, false_alarm: float
) -> str | AssertionError:
    """Return how close the statistics of a property come to their bounds."""
    verdicts = [_mean_test.worst_verdict(group, log) for group in groups]
    worst = max(verdicts, key=lambda verdict: verdict.ratio)
    if worst.ratio > 1:
        sentence = _STATISTICAL[name].sentence(worst)
        return AssertionError(sentence + _assurance_sentence(worst, log, false_alarm))
    count = sum(len(group.labels) for group in groups)
    return (
        f"{count} statistics over {worst.means.num_draws} draws each, the worst at "
        f"{max(0.0, worst.ratio):.2f} of its bound"
    )


def _assurance_sentence(
    verdict: _mean_test.Verdict, log: float, false_alarm: float
) -> str:
    """Say how sure an alarm is."""
    rarest = _mean_test.largest_kurtosis(verdict.means.num_draws, log)
    return (
        f"A compressor that keeps its contract fails this call with a probability of "
        f"at most {false_alarm:g}, unless what makes up for this error happens in less "
        f"than one of {rarest:.0f} draws (then raise `num_draws`)."
    )
