"""What is measured of parts sums up to what is measured of the whole."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxdist as jd

BAD = 3  # of five workers
ROWS = jax.random.normal(jax.random.key(0), (5, 700)).at[BAD, 650].set(jnp.inf)


def assert_sums_up(sees):
    """Check two parts against the whole, and against its geometry; return the sum."""
    anchor = ROWS[0] + 1
    columns = slice(0, 300), slice(300, 700)
    seen = [sees.of(ROWS[:, some], anchor[some]).as_array() for some in columns]
    assert seen[0].shape == sees.shape(6)
    joined = sees.from_array(seen[0] + seen[1])
    whole = sees.seen_in(jd.rules.Geometry.of(ROWS, anchor))
    leaves = map(jax.tree.leaves, (joined, whole))
    for found, expected in zip(*leaves, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(jnp.flatnonzero(~joined.finite), [BAD])
    return joined
