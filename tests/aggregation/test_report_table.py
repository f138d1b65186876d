"""The table fits a page, and its rows add up."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxdist as jd
from jaxdist.aggregation import _report_table


def transformer(num_blocks, name="block_{}"):
    """Return the shapes of a network of equal blocks."""
    block = {
        "attention": {
            **{f"head_{i}": (64, 16) for i in range(4)},
            "out": (64, 64),
            "bias": (64,),
        },
        "mlp": {"up": (64, 256), "down": (256, 64), "up_bias": (256,), "bias": (64,)},
        "norm": {"scale": (64,)},
    }
    tree = {name.format(i): block for i in range(num_blocks)} | {"embed": (1000, 64)}
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32),
        tree,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def report(params):
    top = jd.compression.by_leaf(
        jd.compression.top_k(0.01), {"embed": jd.compression.cast(jnp.bfloat16)}
    )
    return jd.communication_report(jd.aggregate("data", compressor=top), params, 8)


def test_blocks_of_equal_leaves_are_one_row():
    lines = str(report(transformer(12))).splitlines()
    assert len(lines) <= 20
    assert any("block_*/attention/head_* (48)" in line for line in lines)
    assert any("block_*/mlp/down (12)" in line for line in lines)
    of_top = next(line for line in lines if "84 in all" in line)
    assert "top_k(0.01)" in of_top
    assert any("48 in all" in line and "identity()" in line for line in lines)
    assert any("1 in all" in line and "cast(bfloat16)" in line for line in lines)
    assert max(map(len, lines)) < 150


def test_numbers_that_all_leaves_share_are_shown():
    tree = {"layer2": {f"w{i}": jnp.ones(5) for i in range(3)}}
    assert "layer2/w* (3)" in str(report(tree | {"embed": jnp.ones(3)}))


def test_many_names_without_numbers_are_one_row_too():
    params = {f"{chr(97 + i // 26)}{chr(97 + i % 26)}": jnp.ones(7) for i in range(90)}
    text = str(report(params | {"embed": jnp.ones(3)}))
    assert "aa and 89 more" in text and len(text.splitlines()) < 12


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (69.6, "70 B"),
        (999.4, "999 B"),
        (999.6, "1 kB"),
        (4200, "4.2 kB"),
        (70_070, "70.1 kB"),
        (999_700, "1 MB"),
        (123_456_789, "123 MB"),
        (5e18, "5000 PB"),
    ],
)
def test_bytes_have_three_digits_and_a_unit(number, shown):
    assert _report_table.shown_bytes(number) == shown


MATRIX = {"w": jax.ShapeDtypeStruct((1024, 1024), jnp.float32)}


def test_many_workers_are_told_of_a_way_back():
    memory = jd.compression.error_feedback(jd.compression.top_k(0.01))
    tx = jd.aggregate("data", compressor=memory)
    few, many = (jd.communication_report(tx, MATRIX, w) for w in (8, 512))
    assert "downlink" not in str(few)
    back = jd.aggregate("data", compressor=memory, downlink=memory)
    wanted = jd.communication_report(back, MATRIX, 512)
    there = {row.leaf: row.nbytes for row in wanted.shipments}
    promised = {row.leaf: row.two_way for row in many.shipments}
    assert promised == pytest.approx(there)
    assert "`downlink` of error_feedback(top_k(0.01)) too would send" in str(many)
    assert "downlink" not in str(wanted).splitlines()[-1]


def test_no_advice_that_cannot_be_followed():
    memory = jd.compression.error_feedback(jd.compression.top_k(0.01))
    sharded = jd.shard_optimizer("data", optax.sgd(0.1), compressor=memory)
    assert "downlink" not in str(jd.communication_report(sharded, MATRIX, 512))
    rarely = jd.local_updates(
        "data", optax.sgd(0.1), jd.aggregate("data", compressor=memory), period=2
    )
    report = jd.communication_report(rarely, MATRIX, 512)
    always = jd.communication_report(
        jd.aggregate("data", compressor=memory), MATRIX, 512
    )
    (row,), (wanted,) = (
        [row for row in x.shipments if row.two_way] for x in (report, always)
    )
    assert row.two_way == wanted.two_way / 2
