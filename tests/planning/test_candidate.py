"""A candidate says when its exchange may travel."""

import pytest

import jaxdist as jd


def test_there_is_a_step_for_each_fragment():
    tx = jd.aggregate("data")
    assert jd.Candidate(tx, local_steps=4, fragments=4).overlap == 0
    with pytest.raises(ValueError, match=r"`fragments` must be in \[1, 4\], got 5"):
        jd.Candidate(tx, local_steps=4, fragments=5)
