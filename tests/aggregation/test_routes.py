"""The payload travels: what crosses the collectives, and what memory that takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness

SIZE = 4_000_000


def compiled(tx, shapes):
    """Compile one step on eight devices for leaves of these shapes."""
    leaves = {
        f"leaf{i}": jax.ShapeDtypeStruct((harness.NUM_WORKERS, *shape), jnp.float32)
        for i, shape in enumerate(shapes)
    }

    def worker(updates):
        updates = jax.tree.map(lambda leaf: leaf[0], updates)
        out, state = tx.update(updates, tx.init(updates))
        return out, state.uplink

    axis = PartitionSpec(harness.AXIS)
    mapped = jax.shard_map(
        worker,
        mesh=harness.make_mesh(),
        in_specs=axis,
        out_specs=(PartitionSpec(), axis),
    )
    return jax.jit(mapped).lower(leaves).compile()


ONE = [(SIZE,)]
MANY = [(1000, 1000)] * 3 + [(250, 1000)] * 4


@pytest.mark.parametrize("shapes", [ONE, MANY], ids=["one leaf", "many leaves"])
@pytest.mark.parametrize(
    "rule", [jd.rules.trimmed_mean(2), jd.rules.median(), jd.rules.krum(2)]
)
def test_scatter_needs_memory_of_the_gradient_not_of_all_workers(rule, shapes):
    program = compiled(jd.aggregate(harness.AXIS, rule, route="scatter"), shapes)
    temporaries = program.memory_analysis().temp_size_in_bytes
    assert temporaries < 4 * 4 * SIZE


def test_gather_does_need_memory_of_all_workers():
    """So that the test above is known to see what it looks for."""
    tx = jd.aggregate(harness.AXIS, jd.rules.trimmed_mean(2), route="gather")
    assert compiled(tx, ONE).memory_analysis().temp_size_in_bytes > 8 * 4 * SIZE


@pytest.mark.parametrize("shapes", [ONE, MANY], ids=["one leaf", "many leaves"])
def test_dense_mean_needs_no_more_memory_than_a_bare_mean(shapes):
    def bare(updates, state):
        return jax.lax.pmean(updates, harness.AXIS), state

    tx = jd.aggregate(harness.AXIS)
    needed, bare_needed = (
        compiled(tx._replace(update=update), shapes)
        .memory_analysis()
        .temp_size_in_bytes
        for update in (tx.update, bare)
    )
    assert needed == bare_needed


def test_mean_of_gathered_top_k_decodes_into_one_accumulator():
    tx = jd.aggregate(
        harness.AXIS, jd.rules.mean(), jd.compression.top_k(0.01, 4096), "gather"
    )
    temporaries = compiled(tx, ONE).memory_analysis().temp_size_in_bytes
    assert temporaries < 4 * 4 * SIZE


@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (jd.aggregate(harness.AXIS), ["all-reduce"]),
        (
            jd.aggregate(
                harness.AXIS, jd.rules.mean(), jd.compression.scaled_sign(), "gather"
            ),
            ["all-gather"],
        ),
        (
            jd.aggregate(
                harness.AXIS, jd.rules.median(), jd.compression.scaled_sign(), "scatter"
            ),
            ["all-to-all", "all-reduce", "all-gather"],
        ),
        (
            jd.aggregate(harness.AXIS, jd.rules.krum(2), route="scatter"),
            ["all-to-all", "all-reduce", "all-gather"],
        ),
    ],
    ids=["psum", "gather", "scatter", "scatter with distances"],
)
def test_all_leaves_travel_in_one_message(tx, expected):
    found = harness.collectives(compiled(tx, MANY).as_text())
    assert [name for name, _ in found] == expected


def test_signs_travel_as_bits():
    tx = jd.aggregate(
        harness.AXIS, jd.rules.mean(), jd.compression.scaled_sign(), "gather"
    )
    ((name, nbytes),) = harness.collectives(compiled(tx, ONE).as_text())
    assert (name, nbytes) == ("all-gather", 8 * (SIZE // 8 + 4))


@pytest.mark.parametrize("rule", [jd.rules.mean(), jd.rules.median(), jd.rules.krum(2)])
def test_all_routes_give_the_same(rule):
    updates = jax.tree.map(lambda x: x[0], harness.gradients())
    results = []
    for route in ("psum", "gather", "scatter"):
        if route == "psum" and not rule.linear:
            continue
        tx = jd.aggregate(harness.AXIS, rule, route=route)

        def worker(updates, tx=tx):
            return tx.update(updates, tx.init(updates))[0]

        results.append(harness.run(worker, "vmap", updates))
    for other in results[1:]:
        harness.assert_trees_close(other, results[0])


def test_rules_see_the_whole_gradient_when_leaves_take_different_routes():
    """Sparse leaves are gathered, dense ones scattered; distances are over both."""
    rng = np.random.default_rng(0)
    updates = {
        "big": rng.standard_normal((8, 40, 50)).astype(np.float32),
        "small": rng.standard_normal((8, 64)).astype(np.float32),
    }
    compressor = jd.compression.by_leaf(
        jd.compression.top_k(1 / 40), {"small": jd.compression.identity()}, min_size=0
    )
    tx = jd.aggregate(harness.AXIS, jd.rules.krum(2), compressor)
    report = jd.communication_report(tx, jax.tree.map(lambda x: x[0], updates), 8)
    assert {s.leaf: s.route for s in report.shipments} == {
        "big": "gather",
        "small": "scatter",
        "(distances)": "psum",
    }

    def worker(updates):
        return tx.update(updates, tx.init(updates))[0]

    seen = {
        "big": jnp.stack(
            [
                harness.roundtrip(jd.compression.top_k(1 / 40), leaf)[0]
                for leaf in updates["big"]
            ]
        ),
        "small": updates["small"],
    }
    expected = jax.jit(jd.rules.krum(2))(seen)
    for backend in ("vmap", "shard_map"):
        actual = harness.run(worker, backend, updates)
        harness.assert_trees_close(jax.tree.map(lambda x: x[0], actual), expected)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn])
@pytest.mark.parametrize("cast", [False, True])
def test_a_sum_on_the_way_keeps_what_a_gathered_mean_keeps(dtype, cast):
    """In halves a share of many vanishes; of bytes only leaves add up on their way."""
    if cast and jnp.dtype(dtype).itemsize == 1:
        pytest.skip("float8 does not add up on its way")
    rng = np.random.default_rng(0)
    rows = np.outer(rng.uniform(0.5, 1, 64), [1e-6, 1e-5, 1e-3, 1, 250, 400, 6e4])
    if dtype == jnp.float8_e4m3fn:
        rows = rows[:, 2:5]
    rows = jnp.asarray(rows, jnp.float32 if cast else dtype)
    compressor = jd.compression.cast(dtype) if cast else jd.compression.identity()

    def mean(route):
        tx = jd.aggregate("data", compressor=compressor, route=route)
        step = jax.vmap(lambda row: tx.update(row, tx.init(row))[0], axis_name="data")
        return np.asarray(jax.jit(step)(rows)[0], np.float32)

    np.testing.assert_allclose(mean("psum"), mean("gather"), rtol=1e-6)


def test_the_route_does_not_depend_on_where_the_program_is_traced(monkeypatch):
    """Numbers are added in float32 on every backend, so none needs to be asked."""
    monkeypatch.setattr(jax, "default_backend", lambda: pytest.fail("a backend asked"))
    leaf = jnp.zeros((harness.NUM_WORKERS, 100), jnp.bfloat16)
    for route, nbytes, size in (("psum", 4, 100), ("auto", 2, 104)):
        tx = jd.aggregate(harness.AXIS, route=route)
        report = jd.communication_report(tx, leaf[0], harness.NUM_WORKERS)
        assert report.total_nbytes == 2 * 7 / 8 * nbytes * size
