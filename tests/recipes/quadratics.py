"""Quadratics with other noise in each step, and local steps on them in NumPy."""

import numpy as np

RATE, NUMBER, WORKERS, SIZE = 0.1, 4, 3, 5


def noisy_quadratics(rounds, seed=0):
    """Return matrices and centres ``[rounds, H, W, ...]``, other ones in each step."""
    rng = np.random.default_rng(seed)
    roots = rng.standard_normal((rounds, NUMBER, WORKERS, 8, SIZE))
    matrices = np.einsum("...ij,...ik->...jk", roots, roots) / 8
    return matrices, rng.standard_normal((rounds, NUMBER, WORKERS, SIZE))


def loss(params, batch):
    matrix, centre = batch[0][0], batch[1][0]
    return 0.5 * (params - centre) @ matrix @ (params - centre)


def walk_by_hand(start, matrices, centres, decay, correction=0.0):
    """Return where a worker ends, as the paper writes it, and its mean gradient."""
    w, before, v, grads = start.copy(), None, None, []
    for a, c in zip(matrices, centres, strict=True):
        gradient = a @ (w - c)
        v_now = gradient + correction
        if before is not None:
            v_now = v_now + decay * (v - (a @ (before - c) + correction))
        v, before = v_now, w
        w = w - RATE * v
        grads.append(gradient)
    return w, np.mean(grads, axis=0)
