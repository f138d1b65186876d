"""Rules restated from their papers in NumPy and float64: slow, plain, and ours alone.

Every function maps rows ``[W, d]`` to ``[d]``; rows are finite and without ties.
"""

import itertools

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


def best_subset(num_byzantine, cost):
    """Average the first subset of W - f workers with the smallest cost."""

    def rule(rows):
        size = len(rows) - num_byzantine
        subsets = itertools.combinations(range(len(rows)), size)
        return min((rows[list(s)] for s in subsets), key=cost).mean(axis=0)

    return rule


def minimum_diameter(num_byzantine):
    return best_subset(num_byzantine, lambda rows: squared_distances(rows).max())


def minimum_variance(num_byzantine):
    return best_subset(num_byzantine, lambda rows: rows.var(axis=0).sum())


def smea(num_byzantine):
    def largest_eigenvalue(rows):
        centred = rows - rows.mean(axis=0)
        return np.linalg.eigvalsh(centred @ centred.T)[-1]

    return best_subset(num_byzantine, largest_eigenvalue)


def geometric_median(rows):
    point = rows.mean(axis=0)
    for _ in range(1000):
        weights = 1 / np.linalg.norm(rows - point, axis=1)
        point = weights @ rows / weights.sum()
    return point


def centered_clipping(radius, iterations):
    """Start at 0, as at the first step."""

    def rule(rows):
        point = np.zeros_like(rows[0])
        for _ in range(iterations):
            away = rows - point
            norms = np.linalg.norm(away, axis=1, keepdims=True)
            point = point + (away * np.minimum(1, radius / norms)).mean(axis=0)
        return point

    return rule


def nearest_to(centre, number):
    """Average those that are nearest to ``centre(rows)``."""

    def rule(rows):
        away = np.linalg.norm(rows - centre(rows), axis=1)
        return rows[np.argsort(away)[: number(len(rows))]].mean(axis=0)

    return rule


def cge(num_byzantine):
    return nearest_to(np.zeros_like, lambda n: n - num_byzantine)


def monna(num_byzantine):
    return nearest_to(lambda rows: rows[0], lambda n: n - num_byzantine)


def aksel():
    return nearest_to(median, lambda n: (n + 1) // 2)


def spectral_rounds(rows, num_byzantine, least=0.0):
    """Yield ``(counts [W], mean [d], largest eigenvalue)`` round by round."""
    counts = np.ones(len(rows))
    while counts.sum() > len(rows) - 2 * num_byzantine or counts.all():
        weights = counts / counts.sum()
        mean = weights @ rows
        scaled = np.sqrt(weights)[:, None] * (rows - mean)
        _, values, directions = np.linalg.svd(scaled, full_matrices=False)
        yield counts, mean, values[0] ** 2
        blame = ((rows - mean) @ directions[0]) ** 2
        counts = counts * (1 - blame / blame[counts > 0].max())
        counts = np.where(counts < least, 0, counts)


def spectral_filter(num_byzantine, deviation, tight=False):
    def rule(rows):
        least = 0.0 if tight else 0.5
        for counts, mean, variance in spectral_rounds(rows, num_byzantine, least):
            share = 1 if tight else counts.sum() / (4 * len(rows))
            result = mean if tight else rows[counts > 0].mean(axis=0)
            if variance * share <= deviation**2:
                break
        return result

    return rule


def caf(num_byzantine):
    def rule(rows):
        rounds = spectral_rounds(rows, num_byzantine)
        return min(rounds, key=lambda found: found[2])[1]

    return rule
