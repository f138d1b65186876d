"""Expected diversity: the closed forms of the paper's three mechanisms."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdist as jd

G = np.random.default_rng(0).normal(size=(32, 10)) + 0.7
SQUARES, OF_SUM = (G**2).sum(), (G.sum(0) ** 2).sum()
BOUND = 3.01768893  # of the batch size, without noise
NORMS = np.linalg.norm(G, axis=1), np.abs(G).sum(1)


def bound(variance):
    found = jd.diagnostics.expected_diversity(SQUARES, OF_SUM, float(variance))
    return 32 * float(found)


@pytest.mark.parametrize(
    ("variance", "wanted"),
    [
        (0.0, BOUND),
        (0.5 / (1 - 0.5), 5.51527235),  # DropConnect of one half
        (32 * 10 * 1.3**2 / SQUARES, 5.83804600),  # Langevin noise
        ((NORMS[0] * NORMS[1]).sum() / SQUARES - 1, 6.76723632),  # quantization
    ],
)
def test_closed_forms(variance, wanted):
    assert bound(variance) == pytest.approx(wanted, rel=1e-6)
    assert bound(variance) >= BOUND * (1 - 1e-6)  # Theorem 7


def test_quantization_to_two_levels_is_one_mechanism():
    """By drawing: the paper's quantizer is qsgd with one level."""
    rng = np.random.default_rng(1)
    norm, size = NORMS[0][None, :, None], np.abs(G)[None]
    kept = rng.random((20_000, 32, 10)) * norm < size
    drawn = kept * norm * np.sign(G)[None]
    squares = (drawn**2).sum((1, 2)).mean()
    found = 32 * squares / (drawn.sum(1) ** 2).sum(1).mean()
    assert found == pytest.approx(6.76723632, rel=0.01)


def test_noise_on_gradients_that_add_up_to_nothing():
    assert jd.diagnostics.expected_diversity(2.0, 0.0, 0.0) == np.inf
    assert jd.diagnostics.expected_diversity(2.0, 0.0, 1.0) == 2
    assert jd.diagnostics.expected_diversity(jnp.float32(2), jnp.float32(4), 0) == 0.5
