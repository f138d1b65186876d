"""The plan: the lightest route, and clear words when there is none."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist.aggregation import _leaf_plan, _routes
from tests import harness

LEAF = jnp.zeros((100, 100))


def plan(
    rule=None,
    compressor=None,
    downlink=None,
    route="auto",
    num_workers=8,
    leaf=LEAF,
    name="w",
    **more,
):
    rule = rule or jd.rules.mean()
    wanted = _leaf_plan.Wanted(
        compressor or jd.compression.identity(),
        downlink,
        route,
        rule_name=rule.name,
        is_mean=rule.linear,
        needs_aligned=rule.needs_aligned,
        is_weighted=more.get("weighted", False),
        is_fixed=rule.keeps_previous,
        overlaps=more.get("overlaps", False),
    )
    return _leaf_plan.plan_leaf(name, leaf, num_workers, harness.AXIS, wanted)


@pytest.mark.parametrize(
    ("rule", "compressor", "num_workers", "route"),
    [
        (jd.rules.mean(), jd.compression.identity(), 8, "psum"),
        (jd.rules.mean(), jd.compression.random_k(0.1), 8, "psum"),
        (jd.rules.mean(), jd.compression.top_k(0.01), 8, "gather"),
        (jd.rules.mean(), jd.compression.top_k(0.01), 128, "scatter"),
        (jd.rules.mean(), jd.compression.scaled_sign(), 8, "gather"),
        (jd.rules.median(), jd.compression.identity(), 8, "scatter"),
        (jd.rules.median(), jd.compression.identity(), 2, "scatter"),
        (jd.rules.krum(1), jd.compression.random_k(0.01), 8, "gather"),
    ],
)
def test_auto_takes_the_fewest_bytes(rule, compressor, num_workers, route):
    chosen = plan(rule, compressor, num_workers=num_workers)
    assert chosen.route.name == route
    for other in _routes.ROUTES:
        try:
            candidate = plan(rule, compressor, route=other, num_workers=num_workers)
        except ValueError:
            continue
        assert candidate.nbytes_sent() >= chosen.nbytes_sent()


@pytest.mark.parametrize(
    ("compressor", "route"),
    [
        (jd.compression.identity(), "scatter"),  # the bytes of an all-reduce
        (jd.compression.random_k(0.1), "gather"),
        (jd.compression.scaled_sign(), "gather"),
        (jd.compression.power_sgd(1), "psum"),  # a dialogue knows no other
        (
            jd.compression.ef21(
                jd.compression.contractive(jd.compression.random_k(0.1))
            ),
            "gather",
        ),
    ],
)
def test_what_must_overlap_is_no_all_reduce(compressor, route):
    chosen = plan(compressor=compressor, overlaps=True)
    assert chosen.route.name == route
    # What is remembered stays where it was, and who names a route gets it.
    assert chosen.estimate == plan(compressor=compressor).estimate
    assert plan(route="psum", overlaps=True).route.name == "psum"


def test_bytes_follow_the_formulas():
    sign, b = jd.compression.scaled_sign(), 1250 + 4
    assert plan(route="psum").nbytes_sent() == 2 * 7 / 8 * 40_000
    assert plan(compressor=sign, route="gather").nbytes_sent() == 7 * b
    scatter = plan(compressor=sign, route="scatter")
    assert scatter.nbytes_sent() == 7 / 8 * 8 * (157 + 4) + 7 / 8 * 40_000
    both = plan(compressor=sign, downlink=sign)
    assert both.route.has_parts
    assert both.nbytes_sent() == 2 * 7 * (157 + 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rule": jd.rules.median(), "route": "psum"},
            "only the mean.*'scatter' or 'gather'",
        ),
        ({"compressor": jd.compression.top_k(0.1), "route": "psum"}, "do not add up"),
        (
            {"compressor": jd.compression.scaled_sign(), "route": "psum"},
            "Use 'scatter' or 'gather'",
        ),
    ],
)
def test_impossible_routes_say_which_are_possible(arguments, message):
    with pytest.raises(
        ValueError, match=f"`route` 'psum' cannot carry leaf 'w'.*{message}"
    ):
        plan(**arguments)


def test_what_does_not_split_cannot_scatter():
    whole = jd.compression.top_k(0.1)._replace(contract=jd.Contract(splittable=False))
    with pytest.raises(ValueError, match="does not split"):
        plan(compressor=whole, route="scatter")
    with pytest.raises(ValueError, match="`downlink` needs the route scatter"):
        plan(compressor=whole, downlink=jd.compression.scaled_sign())
    with pytest.raises(ValueError, match="`downlink` .* shape of a whole leaf"):
        plan(downlink=whole)
    assert plan(compressor=whole).route.name == "gather"


@pytest.mark.parametrize("rule", [jd.rules.median(), jd.rules.trimmed_mean(1)])
def test_coordinate_wise_rules_need_the_same_coordinates(rule):
    with pytest.raises(ValueError, match="keep different coordinates.*krum"):
        _leaf_plan.check_alignment(
            rule.name, rule.needs_aligned, jd.compression.top_k(0.1)
        )
    for aligned in (
        jd.compression.scaled_sign(),
        jd.compression.random_k(0.1),
        jd.compression.qsgd(8),
    ):
        _leaf_plan.check_alignment(rule.name, rule.needs_aligned, aligned)
    _leaf_plan.check_alignment("krum(1)", False, jd.compression.top_k(0.1))


def test_padding_is_counted():
    tx = jd.aggregate(harness.AXIS, jd.rules.median(), route="scatter")
    shipment, flags = jd.communication_report(tx, jnp.zeros(9), 8).shipments
    assert flags.leaf == "(not finite)"
    assert flags.nbytes == 2 * 7 / 8 * 8 * 4
    assert shipment.nbytes == 2 * 7 / 8 * 16 * 4  # two elements for each of eight
    assert shipment.padding == 2 * 7 / 8 * 7 * 4


def test_complex_leaves_only_where_nothing_compares_them():
    leaf = jnp.zeros(3, jnp.complex64)
    plan(leaf=leaf)
    for rule, compressor in (
        (jd.rules.median(), jd.compression.identity()),
        (jd.rules.mean(), jd.compression.top_k(0.1)),
    ):
        with pytest.raises(TypeError, match="leaf 'w' is complex64"):
            plan(rule, compressor, leaf=leaf)


def test_weights_need_the_estimates_of_all_workers():
    ef21 = jd.compression.ef21(jd.compression.top_k(0.1))
    assert plan(compressor=ef21).estimate.shape == (10_000,)
    weighted = plan(compressor=ef21, weighted=True)
    assert weighted.estimate.shape == (8, 10_000)
    assert plan(weighted=True).averages and not weighted.averages
