"""Workers: shares in a mean, and the silence of those who are absent."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.aggregation import _workers
from tests import harness

WEIGHT = jnp.asarray([1.0, 0, 3, 0, 0, 2, 2, 0])


def test_shares_add_up_to_one():
    def worker(weight):
        workers = _workers.workers_of(harness.AXIS, weight, jnp.zeros(()))
        me = workers.index
        shares = [workers.share_of(me, d) for d in (jnp.float32, jnp.bfloat16)]
        return *shares, workers.is_present, workers.any_present, workers.num_absent

    wide, narrow, here, there, absent = harness.run(worker, "vmap", WEIGHT)
    np.testing.assert_allclose(wide, WEIGHT / 8)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_array_equal(here, WEIGHT > 0)
    assert bool(there.all())
    np.testing.assert_array_equal(absent, 4)


def test_without_weights_nobody_is_asked():
    workers = _workers.workers_of(harness.AXIS, None, jnp.zeros(()))
    payload = object()
    assert workers.is_present is True and workers.any_present is True
    assert workers.silence_absent(payload) is payload
    assert int(workers.num_absent) == 0


def test_payloads_of_the_absent_are_zeros():
    def worker(weight, payload):
        workers = _workers.workers_of(harness.AXIS, weight, jnp.zeros(()))
        return workers.silence_absent((payload, payload > 0))

    values = jnp.where(WEIGHT > 0, 2.0, jnp.nan)
    numbers, flags = jax.jit(jax.vmap(worker, axis_name=harness.AXIS))(WEIGHT, values)
    np.testing.assert_array_equal(numbers, np.where(WEIGHT > 0, 2.0, 0.0))
    np.testing.assert_array_equal(flags, WEIGHT > 0)
