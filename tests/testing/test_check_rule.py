"""Rules with a planted defect are rejected, with a sentence that says why."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from jaxdist import testing
from jaxdist.rules._rule import RuleContract, constant_count

TWO = RuleContract(constant_count(2))


def coordinate_wise(reduce, **promises):
    return jd.AggregationRule(
        "mine", reduce, contract=dataclasses.replace(TWO, **promises)
    )


def first(rows):
    return rows[0]


def mean(rows):
    return jnp.mean(rows, axis=0)


def median(rows):
    """A good median, for what is finite."""
    return jnp.median(rows, axis=0)


def zeroed_median(rows):
    return jnp.median(jnp.where(jnp.isfinite(rows), rows, 0), axis=0)


def beyond(rows):
    """Go from a low value through the median and as far again."""
    return 2 * median(rows) - jnp.sort(rows, axis=0)[2]


def shrunk(rows):
    return 0.99 * zeroed_median(rows)


def with_offset(rows):
    return zeroed_median(rows) + 1e-2


def smallest_norms(geometry, key, memory):
    """CGE, for which nothing is proved."""
    del key
    order = jnp.argsort(jnp.argsort(geometry.squared_norms))
    return (order < 7)[None].astype(jnp.float32) / 7, memory


DEFECTS = {
    "shape_and_dtype": coordinate_wise(lambda rows: rows[:1].reshape(-1)[:5]),
    "permutation": coordinate_wise(first),
    "translation": coordinate_wise(shrunk),
    "scale": coordinate_wise(with_offset),
    "unanimity": coordinate_wise(with_offset),
    # One over W instead of one over those who are there.
    "absence": jd.AggregationRule(
        "mine",
        mean,
        contract=dataclasses.replace(TWO, knows_absent=True),
        reduce_weighted=lambda rows, weight: jnp.mean(rows * weight[:, None], axis=0),
    ),
    "float64": coordinate_wise(lambda rows: (rows + 1e4).mean(axis=0) - 1e4),
    "hull": coordinate_wise(beyond, in_hull=True),
    "bounded": coordinate_wise(mean),
    "not_finite": coordinate_wise(median),
    "resilience": coordinate_wise(mean, kappa=lambda num_workers, f: 1.0),
    "kappa": jd.AggregationRule(
        "mine",
        mix=smallest_norms,
        contract=dataclasses.replace(TWO, kappa=lambda num_workers, f: 5.0),
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found(name):
    with pytest.raises(AssertionError, match=f"mine breaks {name!r}"):
        testing.check_rule(
            DEFECTS[name], properties=name, oracle=lambda rows: rows.mean(axis=0)
        )


def test_a_rule_that_judges_only_its_part_is_found():
    """Workers are chosen by their first coordinate, which one of the parts holds."""

    def reduce(rows):
        chosen = jnp.argmin(rows[:, 0])
        return rows[chosen]

    rule = coordinate_wise(reduce)
    with pytest.raises(AssertionError, match="mine breaks 'sharded'.*route scatter"):
        testing.check_rule(rule, properties="sharded")


OTHER_NUMBERS = {
    "nine are hard-coded": lambda rows: jnp.sum(rows, axis=0) / 9,
    "sixty-four are enough": lambda rows: jnp.mean(rows[:64], axis=0),
    "the middle of an odd number": lambda rows: (
        jnp.sort(rows, axis=0)[rows.shape[0] // 2]
        * (1 - 0.01 * (rows.shape[0] % 2 - 1))
    ),
}


@pytest.mark.parametrize("name", OTHER_NUMBERS)
def test_what_holds_for_nine_workers_only_is_found(name):
    rule = jd.AggregationRule("mine", OTHER_NUMBERS[name], contract=RuleContract())
    testing.check_rule(rule, properties=["permutation", "unanimity", "translation"])
    with pytest.raises(AssertionError, match="'other_numbers': of 70 workers: the"):
        testing.check_rule(rule, properties="other_numbers")


def test_a_constant_that_clipping_loses_far_away_is_found():
    """The attackers choose the mean that is taken off first and added again."""

    def trimmed(rows):
        return jnp.mean(jnp.sort(rows, axis=0)[2:-2], axis=0)

    def centred(rows):
        centre = jnp.mean(rows, axis=0)
        return trimmed(rows - centre[None]) + centre

    def promising(reduce):
        return coordinate_wise(reduce, kappa=lambda num_workers, f: 0.3)

    testing.check_rule(promising(trimmed), properties="resilience", attacks=())
    with pytest.raises(AssertionError, match=r"opposite of a mean of .* deviations"):
        testing.check_rule(promising(centred), properties="resilience", attacks=())


def test_all_that_is_broken_is_reported_with_what_promises_it():
    with pytest.raises(AssertionError) as caught:
        testing.check_rule(
            DEFECTS["unanimity"], properties=["scale", "unanimity", "permutation"]
        )
    said = str(caught.value).splitlines()
    assert said[0] == "mine breaks 2 promises."
    assert "'scale'" in said[1] and "scale_equivariant=True" in said[1]
    assert "'unanimity'" in said[2] and "translation_equivariant=True" in said[2]


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (
            coordinate_wise(lambda rows: rows),
            r"`reduce` of the rule mine must make one row \[s\] = \(\d+,\) of rows",
        ),
        (
            jd.AggregationRule("mine", mix=lambda g, k, m: (jnp.ones((1, 3)), m)),
            r"`mix` of the rule mine must return weights \[m, W\] or .* shape \(1, 3\)",
        ),
        (
            jd.AggregationRule("mine", mix=lambda g, k, m: jnp.ones((1, 9))),
            r"`mix` of the rule mine must return \(mixture, memory\)",
        ),
    ],
)
def test_wrong_shapes_have_a_sentence(rule, sentence):
    with pytest.raises(ValueError, match=sentence):
        rule(jnp.ones((9, 8)))
    with pytest.raises(AssertionError, match=sentence):
        testing.check_rule(rule, properties="shape_and_dtype")


def test_what_is_not_promised_passes():
    rule = jd.AggregationRule(
        "mine",
        first,
        contract=RuleContract(
            translation_equivariant=False, scale_equivariant=False, symmetric=False
        ),
    )
    report = testing.check_rule(rule)
    promised = [row.property for row in report.properties if row.promised]
    assert promised == ["shape_and_dtype", "sharded", "other_numbers"]
    assert "not promised" in str(report)


def test_arguments():
    with pytest.raises(ValueError, match="`properties` must be one of"):
        testing.check_rule(jd.rules.median(), properties=["speed"])
    with pytest.raises(TypeError, match="`rule` must be of type AggregationRule"):
        testing.check_rule(np.median)
    with pytest.raises(ValueError, match="`num_byzantine` must lie in"):
        testing.check_rule(jd.rules.krum(3), num_workers=7)
    with pytest.raises(ValueError, match="`size` must be an integer >= 8"):
        testing.check_rule(jd.rules.median(), size=4)
