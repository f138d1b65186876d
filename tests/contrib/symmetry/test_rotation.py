"""Rotations of the plane in which a loss is a squared distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.contrib.symmetry import problems


@pytest.mark.parametrize("name", ["booth", "rosenbrock"])
def test_rotations_keep_the_loss_and_go_back(name):
    loss = getattr(problems, name)
    action = getattr(problems, f"{name}_rotation")()
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        points, angles = (
            jnp.asarray(rng.normal(size=(20, 2))),
            jnp.asarray(rng.uniform(0, 7, 20)),
        )
        moved = jax.vmap(lambda w, t: action.move(t, w, None))(points, angles)
        back = jax.vmap(lambda w, t: action.move(-t, w, None))(moved, angles)
        before, after = jax.vmap(loss)(points), jax.vmap(loss)(moved)
    assert np.max(abs(np.asarray(moved - points))) > 0.1
    np.testing.assert_allclose(after, before, rtol=1e-12)
    np.testing.assert_allclose(back, points, rtol=1e-9, atol=1e-10)


def test_a_plane_has_two_coordinates():
    action = jd.contrib.symmetry.rotation(lambda w: w, lambda u: u)
    with pytest.raises(ValueError, match=r"`to_plane` must return an array \[2\], got"):
        action.start(jnp.ones(3))
