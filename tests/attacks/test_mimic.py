"""Mimic."""

import jax.numpy as jnp
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_copies_one_honest_worker():
    honest, bad = cases.attacked(jd.attacks.mimic(4))
    cases.assert_all_send(bad, honest[4], rtol=0, atol=0)


def test_the_worker_is_honest():
    with pytest.raises(ValueError, match="`worker_index` must be an integer >= 0"):
        jd.attacks.mimic(-1)
    with pytest.raises(ValueError, match=r"`worker_index` must be in \[0, 2\], got 3"):
        jd.attacks.mimic(3)(jnp.ones((5, 2)), 2)
