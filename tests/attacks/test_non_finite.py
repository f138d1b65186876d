"""Values that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd


@pytest.mark.parametrize("kind", ["nan", "inf", "-inf"])
def test_all_the_same(kind):
    rows = {"a": jnp.ones((3, 2)), "b": jnp.ones((3,), jnp.bfloat16)}
    sent = jax.jit(jd.attacks.non_finite(kind), static_argnums=1)(rows, 1)
    for name, leaf in sent.items():
        assert leaf.dtype == rows[name].dtype
        np.testing.assert_array_equal(leaf[:2].astype(jnp.float32), 1)
        np.testing.assert_array_equal(leaf[2].astype(jnp.float32), float(kind))


def test_mixed_draws_all_three_and_each_worker_its_own():
    sent = np.asarray(
        jax.jit(jd.attacks.non_finite("mixed"), static_argnums=1)(jnp.ones((3, 300)), 2)
    )
    for row in sent[1:]:
        counts = [np.isnan(row).sum(), (row == np.inf).sum(), (row == -np.inf).sum()]
        assert sum(counts) == 300 and min(counts) > 60
    assert np.any(np.isnan(sent[1]) != np.isnan(sent[2]))


@pytest.mark.parametrize(
    "rule", [jd.rules.median(), jd.rules.trimmed_mean(2), jd.rules.krum(2)], ids=str
)
def test_robust_rules_stay_finite(rule):
    sent = jax.jit(jd.attacks.non_finite("mixed"), static_argnums=1)(
        jnp.ones((8, 50)), 2
    )
    np.testing.assert_array_equal(jax.jit(rule)(sent), 1)
    assert not bool(jnp.any(jnp.isfinite(jax.jit(jd.rules.mean())(sent))))


def test_kind_is_known():
    with pytest.raises(ValueError, match="`kind` must be one of 'nan', 'inf', '-inf'"):
        jd.attacks.non_finite("infinity")
