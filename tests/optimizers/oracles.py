"""What optimizers should do, in NumPy and float64, written from the papers."""

import numpy as np

STEPS, WORKERS, SHAPE = 6, 3, (2, 6)


def gradients(seed=0, steps=STEPS, shape=SHAPE):
    """Return gradients ``[steps, W, ...]``, a weight of which never has one."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal((steps, WORKERS, *shape)).astype(np.float32)
    drawn[..., 0, 0] = 0.0
    return drawn


def signs(array):
    """Return the signs times the mean magnitude."""
    return np.abs(array).mean() * np.where(array >= 0, 1.0, -1.0)


class Feedback:
    """A compressor that remembers what it dropped."""

    def __init__(self, compress, decay=1.0):
        """Owe nothing."""
        self.compress, self.decay, self.owed = compress, decay, 0.0

    def __call__(self, array):
        """Return what is sent."""
        wanted = array + self.decay * self.owed
        sent = self.compress(wanted)
        self.owed = wanted - sent
        return sent


class MeanOf:
    """The mean of what workers send, each with a memory of its own."""

    def __init__(self, compress, decay=1.0, workers=WORKERS):
        """Owe nothing."""
        self.senders = [Feedback(compress, decay) for _ in range(workers)]

    def __call__(self, rows):
        """Return the mean."""
        sent = [send(row) for send, row in zip(self.senders, rows, strict=True)]
        return np.mean(sent, axis=0)
