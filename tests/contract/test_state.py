"""What a state must be to live in scan, jit, donation and any optax wrapper."""

import jax
import jax.numpy as jnp
import pytest

from tests import harness
from tests.contract import table

ROWS = pytest.mark.parametrize(
    "row", table.TRANSFORMATIONS, ids=table.names(table.TRANSFORMATIONS)
)


def _mapped(row, **named):
    """Return ``init(params)`` and ``update(...)`` mapped over workers."""
    init = jax.vmap(row.tx.init, axis_name=harness.AXIS)

    def step(updates, state, params, extra):
        return row.tx.update(updates, state, params, **extra, **named)

    return init, jax.vmap(step, axis_name=harness.AXIS)


def _first_step(row):
    params, updates, extra = table.inputs(row, steps=1)
    return params, *jax.tree.map(lambda x: x[0], (updates, extra))


@ROWS
def test_init_needs_shapes_only(row):
    params, *_ = _first_step(row)
    init, _ = _mapped(row)
    abstract = jax.eval_shape(init, params)
    concrete = init(params)
    assert jax.tree.structure(abstract) == jax.tree.structure(concrete)
    for left, right in zip(*map(jax.tree.leaves, (abstract, concrete)), strict=True):
        assert (left.shape, left.dtype) == (right.shape, right.dtype)


@ROWS
def test_update_keeps_structure_shapes_and_dtypes(row):
    params, updates, extra = _first_step(row)
    init, step = _mapped(row)
    before = jax.eval_shape(init, params)
    out, after = jax.eval_shape(step, updates, before, params, extra)
    for given, returned in ((before, after), (updates, out)):
        assert jax.tree.structure(given) == jax.tree.structure(returned)
        for left, right in zip(*map(jax.tree.leaves, (given, returned)), strict=True):
            assert (left.shape, left.dtype) == (right.shape, right.dtype)
            assert left.weak_type is False or right.weak_type


@ROWS
def test_one_trace_serves_all_steps_and_buffers_can_be_donated(row):
    params, updates, extra = _first_step(row)
    init, step = _mapped(row)
    traces = []

    def counted(updates, state, params, extra):
        traces.append(1)
        out, state = step(updates, state, params, extra)
        return out, state, jax.tree.map(jnp.add, params, out)

    program = jax.jit(counted, donate_argnums=(1, 2))
    params = jax.tree.map(jnp.copy, params)
    state = jax.jit(init)(params)
    for _ in range(3):
        _, state, params = program(updates, state, params, extra)
    assert len(traces) == 1


@ROWS
def test_unknown_extra_arguments_are_accepted(row):
    params, updates, extra = _first_step(row)
    init, step = _mapped(row, nobody_knows=jnp.ones(()))
    jax.eval_shape(step, updates, jax.eval_shape(init, params), params, extra)
