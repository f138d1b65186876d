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
        rule=rule or jd.mean(),
        compressor=compressor or jd.identity(),
        downlink=downlink,
        route=route,
    )


@pytest.mark.parametrize(
    ("rule", "compressor", "num_workers", "route"),
    [
        (jd.mean(), jd.identity(), 8, "psum"),
        (jd.mean(), jd.random_k(0.1), 8, "psum"),
        (jd.mean(), jd.top_k(0.01), 8, "gather"),
        (jd.mean(), jd.top_k(0.01), 128, "scatter"),
        (jd.mean(), jd.scaled_sign(), 8, "gather"),
        (jd.median(), jd.identity(), 8, "scatter"),
        (jd.median(), jd.identity(), 2, "scatter"),
        (jd.krum(1), jd.random_k(0.01), 8, "gather"),
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
    sign, b = jd.scaled_sign(), 1250 + 4
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
            {"rule": jd.median(), "route": "psum"},
            "only the mean.*'scatter' or 'gather'",
        ),
        ({"compressor": jd.top_k(0.1), "route": "psum"}, "do not add up"),
        (
            {"compressor": jd.scaled_sign(), "route": "psum"},
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
    whole = jd.top_k(0.1)._replace(contract=jd.Contract(splittable=False))
    with pytest.raises(ValueError, match="does not split"):
        plan(compressor=whole, route="scatter")
    with pytest.raises(ValueError, match="`downlink` needs the route scatter"):
        plan(compressor=whole, downlink=jd.scaled_sign())
    with pytest.raises(ValueError, match="`downlink` .* shape of a whole leaf"):
        plan(downlink=whole)
    assert plan(compressor=whole).route == "gather"


@pytest.mark.parametrize("rule", [jd.median(), jd.trimmed_mean(1)])
def test_coordinate_wise_rules_need_the_same_coordinates(rule):
    with pytest.raises(ValueError, match="keep different coordinates.*krum"):
        _plan.check_pair(rule, jd.top_k(0.1))
    for aligned in (jd.scaled_sign(), jd.random_k(0.1), jd.qsgd(8)):
        _plan.check_pair(rule, aligned)
    _plan.check_pair(jd.krum(1), jd.top_k(0.1))


def test_padding_is_counted():
    odd = _plan.plan_leaf(
        "w",
        jnp.zeros(9),
        8,
        rule=jd.median(),
        compressor=jd.identity(),
        downlink=None,
        route="scatter",
    )
    shipment, flags = _plan.shipments([odd], jd.median(), "aggregate")
    assert flags.nbytes == 2 * 7 / 8 * 8 * 4
    assert shipment.nbytes == 2 * 7 / 8 * 16 * 4  # two elements for each of eight
    assert shipment.padding == 2 * 7 / 8 * 7 * 4


def test_complex_leaves_only_where_nothing_compares_them():
    leaf = jnp.zeros(3, jnp.complex64)
    arguments = dict(downlink=None, route="auto")
    _plan.plan_leaf("w", leaf, 8, rule=jd.mean(), compressor=jd.identity(), **arguments)
    for rule, compressor in ((jd.median(), jd.identity()), (jd.mean(), jd.top_k(0.1))):
        with pytest.raises(TypeError, match="leaf 'w' is complex64"):
            _plan.plan_leaf("w", leaf, 8, rule=rule, compressor=compressor, **arguments)
