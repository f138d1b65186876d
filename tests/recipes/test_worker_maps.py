"""Worker maps: a mesh and a simulation map the same functions alike."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from jaxdist import _collectives
from jaxdist.recipes import _worker_maps
from jaxdist.workers import _worker_state
from tests import harness

TX = jd.per_worker(harness.AXIS, optax.trace(0.9))
MAPS = {
    "mesh": _worker_maps.OnMesh(harness.make_mesh(), harness.AXIS, TX),
    "rows": _worker_maps.OnRows(harness.AXIS),
}


@pytest.mark.parametrize("name", MAPS)
def test_alone_each_has_its_own(name):
    workers = MAPS[name]
    batches = jnp.arange(3 * 16.0).reshape(3, 16)  # [H, W * b]
    if name == "rows":
        batches = batches.reshape(3, 8, 2)

    def function(own, batches, common):
        assert own.shape == () and batches.shape == (3, 2)
        return own + common, jnp.sum(batches)

    found, sums = jax.jit(lambda *args: workers.alone(function, *args))(
        jnp.arange(8.0), batches, jnp.float32(10)
    )
    np.testing.assert_array_equal(found, 10 + np.arange(8))
    wanted = np.arange(48.0).reshape(3, 8, 2).sum(axis=(0, 2))
    np.testing.assert_array_equal(sums, wanted)


@pytest.mark.parametrize("name", MAPS)
def test_together_they_agree_and_each_keeps_its_row(name):
    workers = MAPS[name]
    state = _worker_state.PerWorkerState(jnp.arange(8.0))

    def function(own, common, marked):
        assert marked.inner_state.shape == (1,)
        total = _collectives.psum(own, harness.AXIS)
        return common + total, jax.tree.map(lambda x: x + own, marked)

    total, after = jax.jit(lambda *args: workers.together(function, *args))(
        jnp.arange(8.0), jnp.float32(1), state
    )
    np.testing.assert_array_equal(total, 29)
    np.testing.assert_array_equal(after.inner_state, 2 * np.arange(8))


def test_on_a_mesh_what_differs_is_refused_as_common():
    with pytest.raises(ValueError, match="out_specs"):
        MAPS["mesh"].together(lambda own, common, marked: (own, marked), *WRONG)


WRONG = jnp.arange(8.0), (), ()
