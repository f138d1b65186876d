"""Leaders are found by what workers say of their last losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdist.leader import _losses
from jaxdist.workers import _arrival


def test_mean_of_the_last_losses():
    losses, means = _losses.no_losses(3), []
    assert not np.isfinite(_losses.mean_of_losses(losses))
    for loss in (1.0, 3.0, 8.0, 4.0):
        losses = _losses.note_loss(losses, jnp.float32(loss), True)
        means.append(float(_losses.mean_of_losses(losses)))
    np.testing.assert_allclose(means, [1, 2, 4, 5])


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_stays_for_a_while(loss):
    losses = _losses.note_loss(_losses.no_losses(2), jnp.float32(loss), True)
    for finite in (False, True):
        losses = _losses.note_loss(losses, jnp.float32(1.0), True)
        assert bool(np.isfinite(_losses.mean_of_losses(losses))) == finite


def test_who_is_absent_has_no_loss():
    losses = _losses.note_loss(_losses.no_losses(2), jnp.float32(1.0), True)
    kept = _losses.note_loss(losses, jnp.float32(9.0), jnp.asarray(False))
    np.testing.assert_array_equal(kept, losses)


@pytest.mark.parametrize(
    ("losses", "index", "exists"),
    [
        ([3.0, 1.0, 1.0], 1, True),
        ([np.inf, np.inf, 5.0], 2, True),
        ([np.inf] * 3, 0, 0),
    ],
)
def test_the_first_of_the_least_leads(losses, index, exists):
    def worker(loss):
        return _losses.leader_of_all(loss, "w")

    leader = jax.jit(jax.vmap(worker, out_axes=None, axis_name="w"))(jnp.array(losses))
    assert int(leader.index) == index and bool(leader.exists) == exists
    np.testing.assert_array_equal(leader.losses, losses)


@pytest.mark.parametrize(
    ("losses", "here", "index", "place", "after"),
    [
        ([4.0, 5.0], [1, 1], 2, -1, [np.inf, 4.0, 3.0, 5.0]),
        ([1.0, 2.0], [1, 1], 1, 0, [np.inf, 1.0, 3.0, 2.0]),
        ([1.0, 2.0], [0, 1], 3, 1, [np.inf, 9.0, 3.0, 2.0]),
        ([np.inf, np.inf], [1, 1], 2, -1, [np.inf, np.inf, 3.0, np.inf]),
    ],
)
def test_reports_last_until_the_worker_arrives_again(losses, here, index, place, after):
    reports = jnp.array([np.inf, 9.0, 3.0, np.inf])

    def worker(index, loss, is_here):
        arrival = _arrival.Arrival(index, index, 4)
        return _losses.leader_of_reports(loss, is_here, reports, arrival, "w")

    leader, found = jax.jit(jax.vmap(worker, out_axes=None, axis_name="w"))(
        jnp.array([1, 3]), jnp.array(losses), jnp.array(here, bool)
    )
    assert (int(leader.index), int(found)) == (index, place)
    np.testing.assert_array_equal(leader.losses, after)


@pytest.mark.parametrize(
    ("value", "came"), [(None, "nothing"), (jnp.zeros(2), r"shape \(2,\)")]
)
def test_what_is_no_loss(value, came):
    with pytest.raises(ValueError, match=f"scalar `value`.*Got {came}"):
        _losses.check_loss(value)
