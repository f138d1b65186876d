"""The plan: the lightest route, and clear words when there is none."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from jaxdist.aggregation import _plan

LEAF = jnp.zeros((100, 100))


def plan(rule=None, compressor=None, downlink=None, route="auto", num_workers=8):
    return _plan.plan_leaf(
        "w",
        LEAF,
        num_workers,
        rule=rule or jd.rules.mean(),
        compressor=compressor or jd.compression.identity(),
        downlink=downlink,
        route=route,
    )


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
    assert chosen.route == route
    for other in _plan.ROUTES:
        try:
            candidate = plan(rule, compressor, route=other, num_workers=num_workers)
        except ValueError:
            continue
        assert _plan.bytes_sent(candidate) >= _plan.bytes_sent(chosen)


def test_bytes_follow_the_formulas():
    sign, b = jd.compression.scaled_sign(), 1250 + 4
    assert _plan.bytes_sent(plan(route="psum")) == 2 * 7 / 8 * 40_000
    assert _plan.bytes_sent(plan(compressor=sign, route="gather")) == 7 * b
    scatter = plan(compressor=sign, route="scatter")
    assert _plan.bytes_sent(scatter) == 7 / 8 * 8 * (157 + 4) + 7 / 8 * 40_000
    both = plan(compressor=sign, downlink=sign)
    assert both.route == "scatter"
    assert _plan.bytes_sent(both) == 2 * 7 * (157 + 4)


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
    assert plan(compressor=whole).route == "gather"


@pytest.mark.parametrize("rule", [jd.rules.median(), jd.rules.trimmed_mean(1)])
def test_coordinate_wise_rules_need_the_same_coordinates(rule):
    with pytest.raises(ValueError, match="keep different coordinates.*krum"):
        _plan.check_pair(rule, jd.compression.top_k(0.1))
    for aligned in (
        jd.compression.scaled_sign(),
        jd.compression.random_k(0.1),
        jd.compression.qsgd(8),
    ):
        _plan.check_pair(rule, aligned)
    _plan.check_pair(jd.rules.krum(1), jd.compression.top_k(0.1))


def test_padding_is_counted():
    odd = _plan.plan_leaf(
        "w",
        jnp.zeros(9),
        8,
        rule=jd.rules.median(),
        compressor=jd.compression.identity(),
        downlink=None,
        route="scatter",
    )
    shipment, flags = _plan.shipments([odd], jd.rules.median(), "aggregate")
    assert flags.nbytes == 2 * 7 / 8 * 8 * 4
    assert shipment.nbytes == 2 * 7 / 8 * 16 * 4  # two elements for each of eight
    assert shipment.padding == 2 * 7 / 8 * 7 * 4


def test_complex_leaves_only_where_nothing_compares_them():
    leaf = jnp.zeros(3, jnp.complex64)
    arguments = dict(downlink=None, route="auto")
    _plan.plan_leaf(
        "w",
        leaf,
        8,
        rule=jd.rules.mean(),
        compressor=jd.compression.identity(),
        **arguments,
    )
    for rule, compressor in (
        (jd.rules.median(), jd.compression.identity()),
        (jd.rules.mean(), jd.compression.top_k(0.1)),
    ):
        with pytest.raises(TypeError, match="leaf 'w' is complex64"):
            _plan.plan_leaf("w", leaf, 8, rule=rule, compressor=compressor, **arguments)
