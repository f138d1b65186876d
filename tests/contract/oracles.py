"""Rules restated from their papers in NumPy and float64: slow, plain, and ours alone.

Every function maps rows ``[W, d]`` to ``[d]``; rows are finite and without ties.
"""

import numpy as np


def squared_distances(rows):
    """Return ``[W, W]``."""
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=-1)


def mean(rows):
    return rows.mean(axis=0)


def median(rows):
    return np.median(rows, axis=0)


def trimmed_mean(num_byzantine):
    def rule(rows):
        kept = np.sort(rows, axis=0)[num_byzantine : len(rows) - num_byzantine]
        return kept.mean(axis=0)

    return rule


def krum_scores(rows, num_neighbours):
    """Return ``[W]``."""
    distances = squared_distances(rows)
    nearest = [np.sort(np.delete(distances[i], i)) for i in range(len(rows))]
    return np.array([d[:num_neighbours].sum() for d in nearest])


def krum(num_byzantine):
    return multi_krum(num_byzantine, 1)


def multi_krum(num_byzantine, num_selected=None):
    def rule(rows):
        scores = krum_scores(rows, len(rows) - num_byzantine - 2)
        return rows[np.argsort(scores)[: num_selected or -num_byzantine]].mean(axis=0)

    return rule


def chosen_by_krum(rows, num_byzantine, number):
    """Return the best of those left, again and again, ``[number, d]``."""
    chosen = []
    for _ in range(number):
        num_neighbours = max(len(rows) - num_byzantine - 2, 1)
        to_all = squared_distances(rows).sum(axis=1)
        best = np.lexsort((to_all, krum_scores(rows, num_neighbours)))[0]
        chosen.append(rows[best])
        rows = np.delete(rows, best, axis=0)
    return np.array(chosen)


def iterated_krum(num_byzantine, num_selected):
    def rule(rows):
        return chosen_by_krum(rows, num_byzantine, num_selected).mean(axis=0)

    return rule


def bulyan(num_byzantine):
    def rule(rows):
        theta = len(rows) - 2 * num_byzantine
        chosen = chosen_by_krum(rows, num_byzantine, theta)
        away = np.abs(chosen - np.median(chosen, axis=0))
        nearest = np.lexsort((chosen, away), axis=0)
        kept = nearest[: theta - 2 * num_byzantine]
        return np.take_along_axis(chosen, kept, axis=0).mean(axis=0)

    return rule


def nnm(num_byzantine, then):
    def rule(rows):
        nearest = np.argsort(squared_distances(rows), axis=1)
        return then(rows[nearest[:, : len(rows) - num_byzantine]].mean(axis=1))

    return rule
