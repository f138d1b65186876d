"""Arrival: who a worker is, where only some of all workers meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.workers import _arrival


def _identities(arrivals, size):
    def worker(arrival):
        who = _arrival.identity_of(arrival, "w")
        return jnp.array([who.index, who.num_workers])

    axes = None if arrivals is None else 0
    mapped = jax.jit(jax.vmap(worker, axes, axis_name="w", axis_size=size))
    return np.asarray(mapped(arrivals))


def test_without_an_arrival_the_place_is_the_worker():
    np.testing.assert_array_equal(_identities(None, 3), [[0, 3], [1, 3], [2, 3]])


def test_an_arrival_says_who_it_is():
    workers = jnp.array([1, 6])
    arrivals = _arrival.Arrival(workers, jnp.array([4, 2]), 8)
    np.testing.assert_array_equal(_identities(arrivals, 2), [[1, 8], [6, 8]])


def test_meets_everybody_only_where_the_arrival_says_so():
    place = jnp.int32(0)
    assert _arrival.meets_everybody(None)
    assert _arrival.meets_everybody(_arrival.Arrival(place, place, 2, everybody=True))
    # As many as there are, but one may have come twice.
    assert not _arrival.meets_everybody(_arrival.Arrival(place, place, 2))


def test_what_is_no_arrival_is_named():
    with pytest.raises(TypeError, match="`arrival` must be of type Arrival"):
        jax.jit(
            jax.vmap(lambda x: _arrival.identity_of(3, "w").index + x, axis_name="w")
        )(jnp.arange(2))
