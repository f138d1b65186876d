"""Tracing under types needs no devices, and sees what varies."""

import jax
import jax.numpy as jnp

from jaxdist import _collectives
from jaxdist.workers import _typed


def test_many_workers_on_no_device():
    seen = {}

    def worker(params):
        own = _collectives.to_varying(params, ("pod", "host"))
        mean = _collectives.psum(own, "host")
        seen["size"] = _collectives.axis_size(("pod", "host"))
        seen["own"] = _collectives.is_varying(own, "host")
        seen["mean"] = _collectives.is_varying(mean, "host")

    sizes = {"pod": 40, "host": 50}
    _typed.trace_typed(worker, sizes, jax.ShapeDtypeStruct((3,), jnp.float32))
    assert seen == {"size": 2000, "own": True, "mean": False}
