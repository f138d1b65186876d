"""Leaves cut into blocks and chunks come back; names read like paths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdist import _tree


def test_flatten_names_leaves():
    names, leaves, treedef = _tree.flatten_named({"a": {"b": 1, "c": [2, 3]}})
    assert names == ["a/b", "a/c/0", "a/c/1"]
    assert treedef.unflatten(leaves) == {"a": {"b": 1, "c": [2, 3]}}


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0, 2)])
@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_blocks_come_back(shape, blocks):
    leaf = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
    rows = _tree.to_blocks(leaf, blocks)
    assert rows.shape == (blocks, _tree.block_size(leaf.size, blocks))
    np.testing.assert_array_equal(_tree.from_blocks(rows, leaf), leaf)


@pytest.mark.parametrize("limit", [None, 1, 4, 100])
def test_chunks_come_back(limit):
    rows = jnp.arange(22.0).reshape(2, 11)
    chunks = _tree.to_chunks(rows, limit)
    assert chunks.shape[2] <= (limit or 11)
    np.testing.assert_array_equal(_tree.from_chunks(chunks, 11), rows)


def test_chunks_are_as_equal_as_possible():
    assert _tree.chunk_shape(4100, 4096) == (2, 2050)
    assert _tree.chunk_shape(0, 4096) == (1, 0)


@pytest.mark.parametrize(
    ("density", "size", "expected"),
    [
        (0.01, 4096, 41),
        (0.1, 30, 3),
        (32 / 4096, 4096, 32),
        (0.001, 10, 1),
        (1.0, 7, 7),
    ],
)
def test_kept_forgives_rounding(density, size, expected):
    assert _tree.kept_count(density, size) == expected


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (jnp.bfloat16, "float32"),
        (jnp.float8_e4m3fn, "float32"),
        (jnp.float32, "float32"),
        (jnp.complex64, "complex64"),
    ],
)
def test_accumulator_dtype(dtype, expected):
    assert _tree.accumulator_dtype(dtype) == expected


def test_accumulator_dtype_is_the_widest():
    assert _tree.accumulator_dtype(jnp.bfloat16, np.float64) == "float64"


def test_count_stays_at_its_largest():
    last = jnp.asarray(2**31 - 1, jnp.int32)
    assert _tree.next_count(last) == last
    assert jax.eval_shape(_tree.next_count, last).dtype == jnp.int32


@pytest.mark.parametrize("sizes", [[3], [0, 2, 0], [4, 1, 2]])
def test_split_inverts_concatenation(sizes):
    parts = [np.full(size, i) for i, size in enumerate(sizes)]
    cut = _tree.split_flat(jnp.asarray(np.concatenate(parts)), iter(sizes))
    assert len(cut) == len(parts)
    for left, right in zip(cut, parts, strict=True):
        np.testing.assert_array_equal(left, right)


def test_add_finite_leaves_out_the_rest():
    change = jnp.array([1.0, jnp.nan, jnp.inf, -jnp.inf])
    np.testing.assert_array_equal(_tree.add_finite(jnp.ones(4), change), [2, 1, 1, 1])


@pytest.mark.parametrize("size", [1, 7, 300, 5000])
@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_the_largest_does_not_hide_what_is_not_finite(size, bad):
    rows = jnp.ones((3, size)).at[1, size // 2].set(bad)
    largest = jax.jit(_tree.largest_magnitude)(rows)
    np.testing.assert_array_equal(np.isfinite(largest), [True, False, True])
    assert not np.isfinite(jax.jit(lambda x: _tree.largest_magnitude(x, None))(rows))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.complex64])
def test_what_adds_up_is_wide(dtype):
    leaf = jnp.ones((2, 3), dtype)
    wide = _tree.accumulator_dtype(dtype)
    assert _tree.widened(leaf).dtype == _tree.wide_zeros(leaf).dtype == wide
    np.testing.assert_array_equal(_tree.widened(leaf), np.ones((2, 3)))
    np.testing.assert_array_equal(_tree.wide_zeros(leaf), np.zeros((2, 3)))


def test_nodes_of_a_kind():
    state = (optax.EmptyState(), {"a": optax.TraceState(1), "b": [optax.TraceState(2)]})
    assert _tree.nodes_of(state, optax.TraceState) == [
        optax.TraceState(1),
        optax.TraceState(2),
    ]
    assert _tree.nodes_of(state, optax.MaskedNode) == []


def test_names_are_sorted_as_people_do():
    names = ["layer_10/b", "head", "layer_2/b", "layer_10/a", "2", "10"]
    wanted = ["2", "10", "head", "layer_2/b", "layer_10/a", "layer_10/b"]
    assert sorted(names, key=_tree.natural_key) == wanted


@pytest.mark.parametrize("num_rows", [64, 65, 72, 200])
def test_rows_are_added_however_many_there_are(num_rows):
    rows = np.random.default_rng(0).standard_normal((num_rows, 5)).astype(np.float32)
    total, pull = jax.vjp(_tree.sum_rows, jnp.asarray(rows))
    np.testing.assert_allclose(total, rows.sum(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pull(jnp.ones(5))[0], np.ones((num_rows, 5)))


def test_names_in_an_order():
    assert _tree.ordered_names(["b10", "b2"], None) == ["b2", "b10"]
    assert _tree.ordered_names({"b": 0, "a": 1}, ("b", "a")) == ["b", "a"]
    with pytest.raises(ValueError, match=r"`order` must hold \['a', 'b'\], got"):
        _tree.ordered_names(["b", "a"], ["b"])
