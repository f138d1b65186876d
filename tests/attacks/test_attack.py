"""The protocol: what attackers know, what they send, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests.attacks import cases


def test_either_alone_or_in_collusion():
    def alone(updates, key):
        return updates

    def together(seen, state, key):
        return seen.own, state

    for arguments in ({}, {"corrupt": alone, "collude": together}):
        with pytest.raises(ValueError, match="either `corrupt`.*or `collude`"):
            jd.Attack(**arguments)


def test_colluders_see_whole_updates_apart_from_their_own():
    def swap(seen, state, key):
        assert seen.honest.shape == (7, 20) and seen.own.shape == (2, 20)
        return seen.own[::-1] - seen.honest[:1], state

    honest, bad = cases.attacked(jd.Attack(collude=swap))
    own = cases.flat(cases.updates())[7:]
    np.testing.assert_allclose(bad, own[::-1] - honest[0], rtol=1e-6, atol=1e-6)


def test_leaves_keep_their_dtypes_and_statistics_are_in_float32():
    """The mean of 3 workers is no bfloat16."""
    tree = {
        "half": jnp.array([[1.0], [1.0], [1.0078125], [0.0]], jnp.bfloat16),
        "single": jnp.zeros((4, 2)),
    }

    def mean_in_detail(seen, state, key):
        assert seen.honest.dtype == jnp.float32
        return 1000 * (jnp.mean(seen.honest, axis=0) - 1), state

    sent = jd.Attack(collude=mean_in_detail)(tree, 1)
    assert sent["half"].dtype == jnp.bfloat16 and sent["single"].dtype == jnp.float32
    assert float(sent["half"][3, 0]) == pytest.approx(1000 * 0.0078125 / 3, rel=0.01)


def test_memory_is_carried_from_step_to_step():
    def count(seen, state, key):
        return jnp.zeros_like(seen.own[0]) + state, state + 1

    attack = jd.Attack(collude=count, init=lambda updates: jnp.zeros(()))
    rows = jnp.ones((3, 2))
    state = attack.init(rows[0])
    for i in range(2):
        sent, state = attack.step(rows, state, 1, jax.random.key(0))
        np.testing.assert_array_equal(sent, [[1, 1], [1, 1], [i, i]])


@pytest.mark.parametrize(
    "attack", [jd.attacks.sign_flip(), jd.attacks.min_max()], ids=str
)
def test_nobody_attacks(attack):
    rows = jnp.ones((3, 2))
    assert attack(rows, 0) is rows
    assert attack({}, 0) == {}


def test_colluders_need_real_numbers():
    with pytest.raises(TypeError, match="`updates` must be real.*leaf is int32"):
        jd.attacks.min_max()(jnp.ones((3, 2), jnp.int32), 1)


def test_colluders_need_somebody_honest():
    with pytest.raises(ValueError, match=r"`num_byzantine`.*\[0, 2\] for min_max.* 3"):
        jd.attacks.min_max()(jnp.ones((3, 2)), 3)


def test_an_attack_is_a_function_that_jax_can_transform():
    rows = jnp.arange(6.0).reshape(3, 2)
    jitted = jax.jit(jd.attacks.min_sum(), static_argnums=1)
    np.testing.assert_allclose(
        jitted(rows, 1),
        jax.jit(jd.attacks.min_sum(), static_argnums=1)(rows, 1),
        rtol=1e-6,
    )
