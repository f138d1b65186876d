"""Weight: what counts as one, and how levels of a network add theirs up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.workers import _weight
from tests import harness


def test_what_is_no_weight_is_zero():
    given = jnp.asarray([2.0, 0.0, -1.0, jnp.nan, jnp.inf, 1e-9, 5.0, 1.0])
    found = harness.run(lambda w: _weight.own_weight(w, harness.AXIS), "vmap", given)
    np.testing.assert_array_equal(found, np.float32([2, 0, 0, 0, 0, 1e-9, 5, 1]))


def test_whole_numbers_and_booleans_are_weights():
    for given in (jnp.arange(8), jnp.arange(8) > 3):
        found = harness.run(
            lambda w: _weight.own_weight(w, harness.AXIS), "vmap", given
        )
        np.testing.assert_array_equal(found, np.asarray(given, np.float32))


@pytest.mark.parametrize("backend", harness.BACKENDS)
def test_all_workers_know_all_weights(backend):
    def worker(weight):
        return _weight.gather_weights(weight, harness.AXIS)

    weight = jnp.arange(8.0)
    found = harness.run(worker, backend, weight)
    np.testing.assert_array_equal(found, np.tile(weight, (8, 1)))


def test_a_group_weighs_as_much_as_all_of_its_workers():
    def worker(weight):
        return _weight.weight_of_levels(weight, ("pod", "device"))

    weight = jnp.arange(8.0).reshape(2, 4)
    inner = jax.vmap(worker, axis_name="device")
    levels = jax.jit(jax.vmap(inner, axis_name="pod"))(weight)
    np.testing.assert_array_equal(levels["device"], weight)
    np.testing.assert_array_equal(levels["pod"], [[6] * 4, [22] * 4])
    assert _weight.weight_of_levels(1.0, "data") == 1.0


def test_a_tuple_of_axes_has_the_weight_of_its_last():
    levels = {"pod": 6.0, "device": 2.0}
    assert float(_weight.own_weight(levels, ("pod", "device"))) == 2.0
    with pytest.raises(ValueError, match="for the axis 'rack', got one for .'pod'"):
        _weight.own_weight(levels, ("pod", "rack"))
