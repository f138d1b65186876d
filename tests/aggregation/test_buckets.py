"""Several messages of one step: the same numbers, the last layers first."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist.aggregation import _buckets
from tests import harness

AXIS = harness.AXIS
SIGN = jd.compression.error_feedback(jd.compression.scaled_sign())
LAYERS = {f"layer_{i}": jnp.full((16, 16), 0.1) for i in range(12)}
AGGREGATIONS = {
    "dense": {},
    "gather": {"compressor": SIGN, "route": "gather"},
    "both ways": {"compressor": SIGN, "downlink": SIGN},
    "krum": {"rule": jd.rules.krum(1), "route": "scatter"},
    "low rank": {
        "compressor": jd.compression.error_feedback(jd.compression.power_sgd(1))
    },
}


def test_the_last_leaves_go_first():
    names = ["head", "layer_1", "layer_10", "layer_2"]
    assert _buckets.bucket_numbers(names, [1, 1, 1, 1], 4) == [3, 2, 0, 1]
    assert _buckets.bucket_numbers(names, [1, 1, 1, 1], 1) == [0, 0, 0, 0]
    assert _buckets.bucket_numbers(names, [1, 90, 1, 1], 2) == [1, 1, 0, 0]
    assert _buckets.bucket_numbers([], [], 3) == []
    assert _buckets.bucket_numbers(names, [0, 0, 0, 0], 2) == [0, 0, 0, 0]


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_numbers_are_those_of_one_message(name):
    shape = (2, harness.NUM_WORKERS, 8, 8)
    keys = enumerate(jax.random.split(jax.random.key(0), 6))
    updates = {f"layer_{i}": jax.random.normal(key, shape) for i, key in keys}
    params = jax.tree.map(lambda x: jnp.zeros_like(x[0]), updates)
    found, wanted = (
        harness.run_steps(
            *(jd.aggregate(AXIS, **AGGREGATIONS[name], buckets=number), "shard_map"),
            *(params, updates),
        )
        for number in (3, 1)
    )
    harness.assert_trees_close(found, wanted)


def loss(params, batch):
    """Return the error of a deep network."""
    for i in range(len(LAYERS)):
        batch = jnp.tanh(batch @ params[f"layer_{i}"])
    return jnp.mean(batch**2)


def program(*before, **options):
    """Return the compiled text of a step of eight workers."""
    tx = optax.chain(*before, jd.aggregate(AXIS, **options))

    def worker(batch, state):
        gradients = jd.value_and_grad(loss, AXIS)(LAYERS, batch)[1]
        return tx.update(gradients, state)

    batch = jnp.ones((8, 4, 16))
    states = jax.vmap(lambda _: tx.init(LAYERS), axis_name=AXIS)(batch)
    mapped = harness.mapped(worker, "shard_map")
    return jax.jit(mapped).lower(batch, states).compile().as_text()


def awaited(text, kind):
    """Return how many products each collective has to wait for."""
    blocks = re.split(r"\n(?=%?[\w.-]+ \(|ENTRY)", text)
    with_product = {
        re.match(r"%?([\w.-]+)", block).group(1) for block in blocks if " dot(" in block
    }
    operands, is_product = {}, {}
    for line in blocks[-1].splitlines():
        if found := re.match(r"\s*(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\((.*)", line):
            name, operation, rest = found.groups()
            others = re.findall(r"%([\w.-]+)", rest)
            operands[name] = operation, others
            is_product[name] = operation == "dot" or bool(with_product & set(others))
    products = {}

    def before(name):
        if name not in products and name in operands:
            found = set().union(*map(before, operands[name][1]))
            products[name] = found | ({name} if is_product[name] else set())
        return products.get(name, set())

    return [
        len(before(n)) for n, (operation, _) in operands.items() if operation == kind
    ]


@pytest.mark.parametrize("name", ["gather", "both ways"])
def test_the_first_message_waits_for_the_last_layers_alone(name):
    kind = {"gather": "all-gather", "both ways": "all-to-all"}[name]
    whole = awaited(program(**AGGREGATIONS[name]), kind)
    parts = sorted(awaited(program(**AGGREGATIONS[name], buckets=4), kind))
    assert len(whole) == 1 and len(parts) == 4
    assert parts == sorted(set(parts)) and parts[-1] < whole[0]
    assert whole[0] - parts[0] >= 8  # layers are not awaited


def test_the_bytes_are_those_of_one_message():
    whole, parts = (
        jd.aggregate(AXIS, compressor=SIGN, route="gather", buckets=number)
        for number in (1, 4)
    )
    reports = [jd.communication_report(tx, LAYERS, 8) for tx in (whole, parts)]
    assert sorted(reports[0].shipments) == sorted(reports[1].shipments)
    text = program(compressor=SIGN, route="gather", buckets=4)
    assert harness.bytes_sent(text) == reports[0].total_nbytes


def test_leaves_that_travel_alone_need_no_buckets():
    with pytest.raises(ValueError, match="`buckets` must be 1 with `scope='leaf'`"):
        jd.aggregate(AXIS, scope="leaf", buckets=2)
    with pytest.raises(ValueError, match="`buckets` must be an integer >= 1, got 0"):
        jd.aggregate(AXIS, buckets=0)


def test_more_buckets_than_leaves():
    params = {"w": np.ones(3, np.float32)}
    tx = jd.aggregate(AXIS, compressor=SIGN, buckets=5)
    report = jd.communication_report(tx, params, 8)
    assert len(report.shipments) == 1


def test_what_comes_in_buckets_is_no_all_reduce():
    """XLA would join them to one; unless another route would send more."""
    params = {"w": np.ones((8, 8), np.float32)}
    linear = {"compressor": jd.compression.random_k(0.2)}
    routes = {"dense": "scatter", "low rank": "psum", "linear": "psum"}
    for name, route in routes.items():
        options = AGGREGATIONS.get(name, linear)
        tx = jd.aggregate(AXIS, **options, buckets=2)
        (row,) = jd.communication_report(tx, params, 8).shipments
        assert row.route == route


@pytest.mark.parametrize("name", ["gather", "both ways"])
def test_what_is_sent_a_step_late_waits_for_nothing(name):
    kind = {"gather": "all-gather", "both ways": "all-to-all"}[name]
    late = jd.per_worker(AXIS, jd.delay_updates(1))
    assert awaited(program(late, **AGGREGATIONS[name]), kind) == [0]
