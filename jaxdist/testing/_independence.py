"""Independence: workers that draw for themselves make errors that average out."""

from collections.abc import Iterator

import numpy as np

from jaxdist.testing import _draws, _mean_test, _run

_KINDS = ("normal", "heavy-tailed")


def _of_kind(setting: _run.Setting, kind: str) -> _mean_test.Means:
    """Return how the errors of two workers of a step go together.

    Errors of two steps are subtracted: they share their mean, but nothing random.
    """
    compressor = setting.compressor
    total, square, num_draws = 0.0, 0.0, 0
    what = _run.describe_leaf(kind, setting.like())
    steps = [setting.keys(2, _draws.place_of(kind), step) for step in range(2)]
    for leaves, chunk in _draws.draw_chunks(setting, kind, setting.num_draws):
        num = len(leaves)
        senders = [(steps[0], 0), (steps[0], 1), (steps[1], 1)]
        with _run.on_inputs(what):
            one, two, later = (
                _run.seen_leaves(
                    compressor, leaves, _run.many_steps(key, num, chunk, worker)
                )
                for key, worker in senders
            )
        first, second = (_draws.normed_leaf(leaves, x).errors for x in (one, two))
        samples = np.sum(
            first * (second - _draws.normed_leaf(leaves, later).errors), axis=1
        )
        total += samples.sum()
        square += np.sum(samples**2)
        num_draws += num
    rounding = np.array([1e-9])
    return _mean_test.Means(
        [""], np.array([total]), np.array([square]), rounding, num_draws, what
    )


def product_means(setting: _run.Setting) -> Iterator[_mean_test.Means]:
    """Yield what must have the mean zero."""
    for kind in _KINDS:
        yield _of_kind(setting, kind)


def alarm_sentence(verdict: _mean_test.Verdict) -> str:
    """Say that the workers share what they should draw for themselves."""
    means = verdict.means
    return (
        f"on {means.inputs} the errors of two workers of the same step have a mean "
        f"inner product of {verdict.mean:.3g} (in squares of the norm of the leaf) "
        f"beyond that of two steps, above its bound {verdict.bound:.3g}, over "
        f"{means.num_draws} draws: they draw from `keys.common` what each should draw "
        "from `keys.own`. Where this is meant, pass `shared_randomness=True`. "
    )
