"""Moments: they reach who asks, and nobody else."""

import jax.numpy as jnp

from jaxdist.workers import _moments


def moments(number):
    return _moments.Moments("data", jnp.ones(()), jnp.ones(()), jnp.asarray(number))


def test_who_asks_last_is_told():
    _moments.note(moments(1))
    assert not _moments.are_asked_for()
    with _moments.asked_for() as outer:
        _moments.note(moments(2))
        with _moments.asked_for() as inner:
            assert _moments.are_asked_for()
            _moments.note(moments(3))
        _moments.note(moments(4))
    assert [int(m.num_workers) for m in outer] == [2, 4]
    assert [int(m.num_workers) for m in inner] == [3]
    assert not _moments.are_asked_for()
