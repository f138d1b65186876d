"""What workers hold alike starts where they start, bit by bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxdist import _tree
from jaxdist.leader import _common
from tests import harness

START = jax.random.normal(jax.random.key(0), (8, 100))


@pytest.mark.parametrize("backend", harness.BACKENDS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_who_starts_alike_starts_there(backend, dtype):
    rows = jnp.broadcast_to(START[0], START.shape).astype(dtype)
    found = harness.run(
        lambda own: _common.common_start(own, harness.AXIS), backend, rows
    )
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, rows.astype(jnp.float32))


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_who_starts_apart_starts_at_the_mean(backend):
    found = harness.run(
        lambda own: _common.common_start(own, harness.AXIS), backend, START
    )
    np.testing.assert_allclose(found, jnp.tile(START.mean(0), (8, 1)), atol=1e-6)


def test_what_is_common_by_its_type_sends_nothing():
    common = START[0]

    def worker(own):
        return own[:0], _common.common_start(common, harness.AXIS)

    program = harness.mapped(worker, "shard_map")
    text = jax.jit(program).lower(START).compile().as_text()
    assert not harness.collectives(text)


def test_without_workers_it_is_a_copy():
    start = _common.common_start(START, "nowhere")
    np.testing.assert_array_equal(start, START)
    assert start.unsafe_buffer_pointer() != START.unsafe_buffer_pointer()


def test_finite_are_all_elements_of_all_leaves():
    assert bool(_tree.is_finite({"a": jnp.ones(2), "b": jnp.zeros((0, 3))}))
    assert not bool(_tree.is_finite([jnp.ones(2), jnp.array([1.0, jnp.nan])]))


def test_contents_of_an_all_reduce():
    def worker(leaf):
        (content,) = _common.leaf_contents({"w": leaf}, "w")
        assert content.leaf == "w" and content.nbytes == 12
        assert content.dense == 2 * 3 / 4 * 6
        return leaf

    jax.jit(jax.vmap(worker, axis_name="w"))(jnp.ones((4, 3), jnp.bfloat16))


def test_groups_that_differ_have_a_state_of_their_own():
    """A state that is the same for all nodes cannot hold a centre of each."""
    mesh = jax.make_mesh((2, 4), ("node", "worker"), axis_types=(AxisType.Auto,) * 2)

    def mapped(is_common):
        def worker(own):
            params = own[0, 0]
            start = _common.common_start(own[0, 0] * 0, "worker")
            common = jnp.zeros(3) if is_common else start
            _common.check_common("pull", common, params, "worker")
            _common.check_common("pull", jnp.zeros(3), params, ("node", "worker"))
            return own

        spec = PartitionSpec("node", "worker")
        return jax.shard_map(worker, mesh=mesh, in_specs=spec, out_specs=spec)

    jax.eval_shape(mapped(False), jnp.ones((2, 4, 3)))
    with pytest.raises(
        ValueError, match=r"differ over \['node'\].*state of pull.*init"
    ):
        jax.eval_shape(mapped(True), jnp.ones((2, 4, 3)))
