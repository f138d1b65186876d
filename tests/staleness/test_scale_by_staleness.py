"""Late updates count less, by a power of how late they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_power_of_the_lateness(power):
    tx = jd.scale_by_staleness(power)
    updates = {"w": jnp.array([1.0, -2.0]), "half": jnp.ones(3, jnp.bfloat16)}
    for staleness in (0, 1, 3, 24):
        out, state = tx.update(updates, tx.init(updates), staleness=staleness)
        factor = (1.0 + staleness) ** -power
        np.testing.assert_allclose(out["w"], factor * updates["w"], rtol=1e-6)
        np.testing.assert_array_equal(out["half"], jnp.full(3, factor, jnp.bfloat16))
        assert state == optax.EmptyState()


def test_each_worker_is_late_for_itself():
    tx = optax.chain(jd.scale_by_staleness(1.0), jd.aggregate("w"))

    def worker(gradient, staleness):
        return tx.update(gradient, tx.init(gradient), staleness=staleness)[0]

    mapped = jax.jit(jax.vmap(worker, out_axes=None, axis_name="w"))
    out = mapped(jnp.array([1.0, 1.0, 4.0]), jnp.array([0, 1, 3]))
    np.testing.assert_allclose(out, (1 + 0.5 + 1) / 3)


def test_complex_updates():
    tx = jd.scale_by_staleness()
    out, _ = tx.update(jnp.array([2j]), tx.init(jnp.array([2j])), staleness=3)
    np.testing.assert_allclose(out, [1j])


def test_who_gives_the_staleness():
    tx = jd.scale_by_staleness()
    with pytest.raises(ValueError, match="scale_by_staleness needs `staleness`"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


def test_power_is_checked():
    with pytest.raises(ValueError, match="`power` must lie in .*got -1"):
        jd.scale_by_staleness(-1)


def test_integer_leaves_are_named():
    tx = jd.scale_by_staleness()
    with pytest.raises(TypeError, match="`updates` must be floating-point"):
        tx.update(jnp.ones(2, jnp.int32), tx.init(()), staleness=1)
