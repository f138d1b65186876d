"""Columns a few at a time make what all at once would make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.geometry import _columns
from tests import harness

ROWS = np.random.default_rng(0).standard_normal((4, 40_001)).astype(np.float32)


def largest(rows):
    return _columns.map_columns(lambda columns: jnp.max(columns, axis=0), rows)


def total(rows):
    return _columns.fold_columns(
        lambda columns: jnp.sum(columns, axis=1), jnp.add, rows
    )


@pytest.fixture(params=[None, 2**12], ids=["on a CPU", "elsewhere"])
def width(request, monkeypatch):
    """Whether the program is that for a CPU, or that for an accelerator."""
    if request.param:
        platform_dependent = jax.lax.platform_dependent
        monkeypatch.setattr(_columns, "_LAUNCHED", request.param)
        monkeypatch.setattr(
            jax.lax,
            "platform_dependent",
            lambda *rows, cpu, default: platform_dependent(
                *rows, cpu=default, default=cpu
            ),
        )


@pytest.mark.usefixtures("width")
@pytest.mark.parametrize("size", [0, 3, 4096, 8192, 40_001])
def test_a_few_at_a_time(size):
    rows = ROWS[:, :size]
    np.testing.assert_array_equal(jax.jit(largest)(rows), rows.max(axis=0))
    found = jax.jit(total)(rows)
    np.testing.assert_allclose(found, rows.sum(axis=1, dtype=float), rtol=1e-3)


@pytest.mark.usefixtures("width")
def test_vmapped_and_in_a_mesh():
    stack = np.stack([ROWS, -ROWS, 2 * ROWS, ROWS + 1] * 2)
    expected = stack.max(axis=1)
    np.testing.assert_array_equal(jax.jit(jax.vmap(largest))(stack), expected)
    spec = jax.sharding.PartitionSpec(harness.AXIS)
    mapped = jax.shard_map(
        lambda rows: largest(rows[0])[None],
        mesh=harness.make_mesh(),
        in_specs=spec,
        out_specs=spec,
    )
    np.testing.assert_array_equal(jax.jit(mapped)(stack), expected)
