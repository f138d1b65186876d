"""Action: what errors call it, and that programs may hold it."""

import jax
import jax.numpy as jnp

import jaxdist as jd


def test_actions_are_static_arguments():
    action = jd.contrib.symmetry.Action(
        start=lambda params: jnp.zeros(()),
        move=lambda amount, params, batch: params + amount * batch,
    )
    assert repr(action) == "custom action"
    moved = jax.jit(lambda a, x: a.move(2.0, x, 3.0), static_argnums=0)(action, 1.0)
    assert moved == 7
