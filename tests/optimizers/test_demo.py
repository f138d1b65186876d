"""DeMo against its equations, and what its payloads take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd
from tests import harness
from tests.optimizers import oracles

AXIS = harness.AXIS
SIZE = 8  # of a transform
GRADIENTS = oracles.gradients(steps=5, shape=(4, SIZE))
PARAMS = jnp.ones((4, SIZE))


def make(**options):
    options = {"decay": 0.9, "density": 0.25, "transform_size": SIZE} | options
    return jd.optimizers.demo(AXIS, 0.1, block_size=32, **options)


def strongest(array):
    """Return the eight largest of 32 coefficients of transforms along the rows."""
    i, j = np.indices((SIZE, SIZE))
    basis = np.cos(np.pi * i * (2 * j + 1) / (2 * SIZE)) * np.sqrt(2 / SIZE)
    basis[0] /= np.sqrt(2)
    found = array.reshape(4, SIZE) @ basis.T
    kept = np.abs(found) >= np.sort(np.abs(found), axis=None)[-8]
    return (found * kept) @ basis


def test_it_follows_its_equations():
    send = oracles.MeanOf(strongest, decay=0.9)
    expected = [-0.1 * np.sign(send(rows.astype(np.float64))) for rows in GRADIENTS]
    found, _ = harness.train_in_common(make(values="float"), PARAMS, GRADIENTS)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


@pytest.mark.parametrize("values", ["int8", "sign"])
def test_narrow_values_leave_the_rest_to_the_momentum(values):
    """Over time all of a constant gradient arrives, in whatever steps it does."""
    constant = np.broadcast_to(GRADIENTS[:1], (60, *GRADIENTS.shape[1:]))
    tx = make(values=values, decay=1.0)
    _, state = harness.train_in_common(tx, PARAMS, constant)
    owed = np.asarray(state.sent.uplink.inner_state.residual)
    assert np.linalg.norm(owed) < 20 * np.linalg.norm(GRADIENTS[0])
    found, _ = harness.train_in_common(make(values=values), PARAMS, GRADIENTS)
    wide, _ = harness.train_in_common(make(values="float"), PARAMS, GRADIENTS)
    assert np.mean(found[0] == wide[0]) > 0.9


def test_payloads_take_what_the_docstring_says():
    params = {"w": jnp.zeros((64, 64))}
    for values, per_element, scales in (
        ("int8", 1, 4),
        ("sign", 1 / 8, 4),
        ("float", 4, 0),
    ):
        tx = jd.optimizers.demo(AXIS, 0.1, values=values)
        report = jd.communication_report(tx, params, 8)
        assert report.total_nbytes == 7 * (32 * (per_element + 1.5) + scales)


def test_a_way_back_does_not_grow_with_the_workers():
    params = {"w": jnp.zeros((256, 256))}
    back = jd.compression.error_feedback(jd.compression.dct_top_k(1 / 4))
    few, many = (
        jd.communication_report(
            jd.optimizers.demo(AXIS, 0.1, downlink=back), params, num_workers
        ).total_nbytes
        for num_workers in (4, 16)
    )
    assert many < 1.3 * few


def test_a_nan_is_seen_and_does_not_stay():
    spoilt = GRADIENTS.copy()
    spoilt[1, 2, 0, 3] = np.nan
    updates, state = harness.train_in_common(make(), PARAMS, spoilt)
    assert np.isnan(updates[1]).any() and np.isfinite(updates[2:]).all()
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()
    guarded = make(rule=jd.rules.krum(0))
    updates, _ = harness.train_in_common(guarded, PARAMS, spoilt)
    assert not np.isnan(updates).any()
