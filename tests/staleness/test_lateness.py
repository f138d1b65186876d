"""What is missing is named, with who would give it."""

import jax.numpy as jnp
import pytest

from jaxdist.staleness import _lateness


def test_what_is_there_passes():
    assert int(_lateness.checked_staleness("mine", 3)) == 3
    _lateness.checked_stale_params("mine", {"w": jnp.ones(2)}, {"w": jnp.ones(2)})


@pytest.mark.parametrize(
    ("staleness", "came"), [(None, "nothing"), (jnp.ones(2), r"shape \(2,\)")]
)
def test_what_is_no_staleness(staleness, came):
    with pytest.raises(
        ValueError, match=f"mine needs `staleness`.*simulate_async.*Got {came}"
    ):
        _lateness.checked_staleness("mine", staleness)


@pytest.mark.parametrize(
    ("params", "stale_params", "message"),
    [
        (None, 1.0, "mine needs `params`"),
        (1.0, None, "mine needs `stale_params`.*delay_updates.*Got nothing"),
        ({"w": 1.0}, {"b": 1.0}, "`stale_params` must have the structure.*'w'.*got"),
    ],
)
def test_what_are_no_stale_params(params, stale_params, message):
    with pytest.raises(ValueError, match=message):
        _lateness.checked_stale_params("mine", params, stale_params)
