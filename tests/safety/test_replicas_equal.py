"""All workers learn whether one of them holds other bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import jaxdist as jd
from tests import harness

SAME = jnp.full((8, 5), 0.1)


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_a_planted_difference_is_seen_by_all(backend):
    def check(leaf):
        return jd.replicas_equal(harness.AXIS, {"w": leaf, "count": jnp.asarray(3)})

    nearly = SAME.at[6, 2].set(np.nextafter(np.float32(0.1), np.float32(1)))
    assert harness.run(check, backend, SAME).all()
    assert not harness.run(check, backend, nearly).any()
    nan = jnp.full_like(SAME, jnp.nan)
    assert harness.run(check, backend, nan).all()


def test_it_runs_every_few_steps_on_what_is_typed_equal():
    """A branch without a collective is no trouble where all workers count alike."""

    def steps(params, start):
        def step(count, _):
            equal = jax.lax.cond(
                count % 2 == 0,
                lambda: jd.replicas_equal(harness.AXIS, params),
                lambda: jnp.asarray(True),
            )
            return count + 1, equal

        return jax.lax.scan(step, start, length=4)[1]

    mapped = jax.shard_map(
        steps,
        mesh=harness.make_mesh(),
        in_specs=PartitionSpec(),
        out_specs=PartitionSpec(),
    )
    assert jax.jit(mapped)(jnp.ones(3), jnp.asarray(0)).all()


def test_axis_name_is_checked():
    with pytest.raises(ValueError, match="`axis_name` must be"):
        jd.replicas_equal((), ())
