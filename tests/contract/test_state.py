"""What a state must be to live in scan, jit, donation and any optax wrapper."""

import functools

import chex
import jax
import jax.numpy as jnp
import pytest

from tests import harness
from tests.contract import table

EACH = table.each(table.TRANSFORMATIONS)


@pytest.fixture(autouse=True)
def _traces_of_one_test():
    """Chex counts by name, and the steps of all rows have one."""
    chex.clear_trace_counter()


def _mapped(row, **named):
    """Return ``init(params)`` and ``update(...)`` mapped over workers."""
    init = jax.vmap(row.tx.init, axis_name=harness.AXIS)

    def step(updates, state, params, extra):
        return row.tx.update(updates, state, params, **extra, **named)

    return init, jax.vmap(step, axis_name=harness.AXIS)


@functools.lru_cache(maxsize=8)
def _programs(row):
    """Return ``init(params)`` and a step, traced once, that makes new parameters."""
    init, step = _mapped(row)

    def train(updates, state, params, extra):
        out, state = step(updates, state, params, extra)
        return out, state, jax.tree.map(jnp.add, params, out)

    once = chex.assert_max_traces(train, n=1)
    return init, jax.jit(once, donate_argnums=(1, 2))


def _first_step(row):
    params, updates, extra = table.inputs(row, steps=1)
    return params, *jax.tree.map(lambda x: x[0], (updates, extra))


@EACH
def test_init_needs_shapes_only(row):
    params, *_ = _first_step(row)
    init, _ = _programs(row)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        jax.eval_shape(init, params), init(params)
    )


@EACH
def test_update_keeps_structure_shapes_and_dtypes(row):
    params, updates, extra = _first_step(row)
    init, step = _programs(row)
    before = jax.eval_shape(init, params)
    out, after, _ = jax.eval_shape(step, updates, before, params, extra)
    for given, returned in ((before, after), (updates, out)):
        chex.assert_trees_all_equal_shapes_and_dtypes(given, returned)
        for left, right in zip(*map(jax.tree.leaves, (given, returned)), strict=True):
            assert left.weak_type is False or right.weak_type


@EACH
def test_one_trace_serves_all_steps_and_buffers_can_be_donated(row):
    params, updates, extra = _first_step(row)
    init, step = _programs(row)
    params = jax.tree.map(jnp.copy, params)
    state = jax.jit(init)(params)
    for _ in range(3):
        _, state, params = step(updates, state, params, extra)


@EACH
def test_unknown_extra_arguments_are_accepted(row):
    params, updates, extra = _first_step(row)
    init, step = _mapped(row, nobody_knows=jnp.ones(()))
    jax.eval_shape(step, updates, jax.eval_shape(init, params), params, extra)
