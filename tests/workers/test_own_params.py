"""Own parameters: one sentence for all that moves workers towards each other."""

import jax.numpy as jnp
import pytest

from jaxdist.workers import _arrival, _own_params
from tests import harness


def test_parameters_must_be_given():
    with pytest.raises(ValueError, match="pull needs `params`: call tx.update"):
        _own_params.check_own_params("pull", None, harness.AXIS)


def test_parameters_must_differ_where_a_type_says_so():
    def worker(params, common):
        _own_params.check_own_params("pull", {"w": params}, harness.AXIS)
        with pytest.raises(ValueError, match="leaf 'w'.*pull has nothing to do"):
            _own_params.check_own_params("pull", {"w": common}, harness.AXIS)
        return params

    rows = jnp.arange(8.0)
    harness.run(lambda params: worker(params, jnp.zeros(())), "shard_map", rows)


def test_an_arrival_knows_whether_parameters_differ():
    params = jnp.ones(3)
    arrival = _arrival.Arrival(jnp.int32(0), jnp.int32(1), 4, params)
    _own_params.check_own_params("pull", params, "w", arrival)
    arrival = _arrival.Arrival(jnp.int32(0), jnp.int32(1), 4)
    with pytest.raises(ValueError, match="pull has nothing to do.*per_worker_params"):
        _own_params.check_own_params("pull", params, "w", arrival)
