"""Bad arguments are refused by the function that gets them, by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxdist as jd
from tests.contract import arguments, table

ROWS = list(arguments.rows())


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_is_not_taken_is_named(row):
    if row.argument in arguments.NOT_CHECKED:
        return
    assert row.argument in arguments.BAD, "say in arguments.py what it does not take"
    for value in arguments.bad_values(row):
        with pytest.raises((ValueError, TypeError)) as caught:
            arguments.call(row, value)
            pytest.fail(f"{row.name} takes {value!r}")
        said = str(caught.value)
        assert re.search(rf"`{row.argument}\b.*\bgot\b", said, re.DOTALL), (value, said)


def test_no_row_is_idle():
    used = {row.argument for row in ROWS}
    assert set(arguments.BAD) | set(arguments.NOT_CHECKED) <= used
    pairs = {(row.function.__name__, row.argument) for row in ROWS}
    assert set(arguments.SPECIAL) | set(arguments.MEANS_SOMETHING) <= pairs


def of_any_worker(function, *args):
    """Trace a function as one of the workers would run it."""
    mapped = jax.vmap(lambda _: function(*args), axis_name=table.AXIS)
    return jax.eval_shape(mapped, jnp.arange(8))


@pytest.mark.parametrize("state", [(), optax.scale_by_adam().init(jnp.ones(3)), 3])
@table.each(table.TRANSFORMATIONS)
def test_states_of_others_are_refused(row, state):
    updates = {"w": jnp.ones(3)}

    def update():
        return row.tx.update(updates, state, updates, value=jnp.ones(()))[0]

    with pytest.raises(TypeError, match=r"`state` must be the \w+State that `init` of"):
        of_any_worker(update)


LOCAL = {
    "aggregate": jd.aggregate(table.AXIS),
    "compress": jd.compress(jd.compression.top_k(0.5)),
    "delay_updates": jd.delay_updates(1),
    "delay_inner": jd.delay_updates(1, inner=optax.sgd(0.1)),
    "exact_diffusion": jd.exact_diffusion(table.AXIS, jd.gossip.ring()),
    "inject_attack": jd.inject_attack(table.AXIS, jd.attacks.sign_flip(), 1),
    "limit_step_by_distance": jd.limit_step_by_distance(1.0, 1.0),
    "mix_with_neighbors": jd.mix_with_neighbors(table.AXIS, jd.gossip.ring()),
    "pull_to_center": jd.pull_to_center(table.AXIS, 0.1),
    "pull_to_leader": jd.pull_to_leader(table.AXIS, 0.1),
    "push_sum": jd.push_sum(table.AXIS, jd.gossip.ring()),
    "scale_by_staleness": jd.scale_by_staleness(),
    "track_gradient": jd.track_gradient(table.AXIS, jd.gossip.ring()),
}


@pytest.mark.parametrize("name", LOCAL)
def test_numbers_of_python_are_no_updates(name):
    tx, params = LOCAL[name], {"w": jnp.ones(())}

    def update():
        state = tx.init(params)
        return tx.update({"w": 1.0}, state, params, value=jnp.ones(()))[0]

    with pytest.raises(TypeError, match="`updates` leaf 'w' must be an array, got 1.0"):
        of_any_worker(update)
    checked = ("aggregate", "compress", "delay_inner", "delay_updates")
    gossip = ("exact_diffusion", "mix_with_neighbors", "push_sum", "track_gradient")
    if name in (*checked, *gossip, "pull_to_center"):
        with pytest.raises(TypeError, match="`params` leaf 'w' must be an array"):
            of_any_worker(lambda: jax.tree.leaves(tx.init({"w": 1.0})))


def test_what_is_each_workers_own_does_not_communicate():
    tx = jd.per_worker(table.AXIS, jd.aggregate(table.AXIS))

    def update():
        return tx.update(jnp.ones(3), tx.init(jnp.ones(3)))[0]

    with pytest.raises(ValueError, match="`inner` of per_worker .* not communicate"):
        of_any_worker(update)


def test_seeds_of_numpy_and_jax_are_seeds():
    for key in (np.int32(3), jnp.int32(3), jax.random.key(3), jax.random.PRNGKey(3)):
        jd.compress(jd.compression.random_k(0.5), key)
