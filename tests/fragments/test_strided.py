"""Strided: layer i belongs to fragment i mod n."""

import jax.numpy as jnp

import jaxdist as jd

NETWORK = {
    "embed": {"kernel": jnp.ones(1)},
    **{f"layers_{i}": {"w": jnp.ones(1), "b": jnp.ones(1)} for i in range(12)},
}


def test_every_third_layer():
    numbers = jd.fragments.strided(3).number_leaves(NETWORK)
    found = dict(zip(sorted(NETWORK), [numbers[0], *numbers[1::2]], strict=True))
    assert found == {
        "embed": 0,
        **{f"layers_{i}": (i + 1) % 3 for i in range(12)},
    }
    assert numbers[1::2] == numbers[2::2]  # a layer is not cut


def test_one_fragment_holds_all():
    assert set(jd.fragments.strided(1).number_leaves(NETWORK)) == {0}
