"""Updates that are the same everywhere, or no gradients, are named."""

import jax
import jax.numpy as jnp
import pytest

from jaxdist.workers import _own_updates
from tests import harness


def check(backend, updates):
    def worker(own):
        _own_updates.check_own_updates(updates(own), harness.AXIS)
        return own

    return jax.eval_shape(harness.mapped(worker, backend), jnp.ones((8, 2)))


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_types_tell_what_is_the_same_everywhere(backend):
    check(backend, lambda own: {"w": own})
    if backend == "shard_map":
        with pytest.raises(ValueError, match=r"already equal.*'w'.*value_and_grad"):
            check(backend, lambda own: {"w": jnp.ones(3)})
    check(backend, lambda own: {"w": own, "empty": jnp.ones((0, 3))})


def test_integers_are_no_updates():
    with pytest.raises(TypeError, match="leaf 'n' is int32.*optax.masked"):
        _own_updates.check_own_updates({"n": jnp.zeros(3, jnp.int32)}, harness.AXIS)
