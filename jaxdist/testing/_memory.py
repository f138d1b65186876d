r"""Memory: what was not sent is sent later, once, and nobody else remembers.

After a first leaf :math:`x`, of which :math:`C(x)` arrives, a memory owes
:math:`m = x - C(x)`. The next leaf is compressed with :math:`c\,m` added. Feedback
has :math:`c = 1`, less where it forgets, more where what is owed has a momentum. So the
leaf :math:`-c\,m` is answered with zeros, which shows :math:`c` whatever the compressor
inside.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist.compression import _compressor
from jaxdist.testing import _programs, _run

_SMALL = 1e-6  # of the leaf: rounding of float32
_ANSWERED = 1e-4  # of what is owed: an answer that is zero, but for rounding
_ANSWERED_NARROW = 2e-2  # the same where the state is stored in a byte or two
_HELD = 1e-4  # of an array of the state: rounding over many steps
_GROWTH = 1e-3  # of what is owed, which is rounding
_TRIES = 6  # of finding c
_AT_MOST = 1.1  # times a leaf that never changes arrives, on average of the steps


def memory(setting: _run.Setting) -> str:
    """Check what is remembered, and that who says nothing remembers nothing."""
    compressor, leaf = setting.compressor, setting.leaf("normal")
    what = _run.describe_leaf("normal", leaf)
    with _run.on_inputs(what):
        start = compressor.init(leaf)
        if not jax.tree.leaves(start):
            _require_no_claim(compressor, what)
            return "no state"
        first = _run.compile_function(compressor)(leaf, start, setting.keys())
    dropped = _run.exact_array(leaf) - _run.exact_array(first.seen)
    if np.linalg.norm(dropped) <= _SMALL * np.linalg.norm(_run.exact_array(leaf)):
        return "nothing is dropped"
    if compressor.incremental:
        _require_copy(setting, leaf, what)
        return f"the sender's copy over {_programs.STEPS} steps"
    _require_written(start, first.state, leaf, what)
    if not compressor.remembers:
        _require_forgotten(setting, first.state, what)
        return "nothing of the leaf before"
    share = _require_owed(setting, first, dropped, what)
    _require_bounded(setting, leaf, share, what)
    if share is None:
        return "what was dropped, in the state"
    return f"{share:.3g} of what was dropped"


def _require_no_claim(compressor: _compressor.Compressor, what: str) -> None:
    """Raise when a compressor without state says that it remembers."""
    _run.require_true(
        not compressor.remembers,
        f"on {what} there is no state, but `Compressor(remembers=True)` says that it "
        "holds what was not sent.",
    )


def _require_written(start, after, leaf: jax.Array, what: str) -> None:
    """Raise when the residual stays zero although something was dropped."""
    residuals = [
        (jax.tree_util.keystr(path), old, new)
        for (path, old), new in zip(
            jax.tree.leaves_with_path(start), jax.tree.leaves(after), strict=True
        )
        if old.shape == leaf.shape and jnp.issubdtype(old.dtype, jnp.inexact)
    ]
    are_zero = [not (_run.exact_array(x).any() or np.any(y)) for _, x, y in residuals]
    _run.require_true(
        not residuals or not all(are_zero),
        f"on {what} not all arrives, but of the state, "
        f"{', '.join(name or 'the only array' for name, *_ in residuals)} of the "
        "leaf's shape stays zero: `encode` must return what it did not send as the new "
        "state.",
    )


def _require_forgotten(setting: _run.Setting, state, what: str) -> None:
    """Raise when a leaf of zeros is answered with something of the leaf before."""
    program = _run.compile_function(setting.compressor)
    with _run.on_inputs(what):
        zeros = jnp.zeros(setting.shape, jnp.float32)
        seen = program(zeros, state, setting.keys(1)).seen
    _run.require_true(
        not _run.exact_array(seen).any(),
        f"on a leaf of zeros after {what} not all that arrives is zero, so that it "
        "remembers what it did not send: say so with `Compressor(remembers=True)`.",
    )


def _require_owed(
    setting: _run.Setting, first: _run.Trip, dropped: np.ndarray, what: str
) -> float | None:
    """Return the share of what was dropped that the next message is made of.

    None where the memory is not such a share but the state holds what was dropped.
    """
    share = _owed_share(setting, first.state, dropped)
    if share is not None and 0 < share <= 1 + _GROWTH:
        return share
    if share is not None and share > 1 and _grows(setting, first.state, dropped, share):
        raise AssertionError(
            f"on {what} {share:.4g} times what was dropped is added to the next leaf, "
            "and again at each step, so that the memory grows without bound. Keep "
            "`wanted - decoded`, where `wanted` is the leaf plus what was kept before."
        )
    _run.require_true(
        share != 0 and _holds(first.state, dropped),
        f"on {what} what was dropped is not sent later: the next message is not made "
        "of the leaf plus what was dropped, and no array of the state holds that. Keep "
        "`wanted - decoded`, where `wanted` is the leaf plus what was kept before, or "
        "do not say `Compressor(remembers=True)`.",
    )
    return None


def _answer_to(setting: _run.Setting, state, leaf: np.ndarray, step: int) -> _run.Trip:
    """Return what becomes of a leaf in a later step."""
    program = _run.compile_function(setting.compressor)
    return program(jnp.asarray(leaf, jnp.float32), state, setting.keys(step))


def _owed_share(setting: _run.Setting, state, owed: np.ndarray) -> float | None:
    """Return c with which the leaf ``-c * owed`` is answered with zeros, if any is."""
    narrow = any(
        x.dtype.itemsize < 4 for x in jax.tree.leaves(state) if x.size == owed.size
    )
    limit = _ANSWERED_NARROW if narrow else _ANSWERED
    with _run.on_inputs("a leaf that takes back what was dropped before"):
        fresh = setting.compressor.init(jnp.asarray(owed, jnp.float32))
        alone = _run.exact_array(_answer_to(setting, fresh, owed, 1).seen)
        share = 1.0
        for _ in range(_TRIES):
            seen = _answer_to(setting, state, -share * owed, 1).seen
            answer = _run.exact_array(seen)
            if np.linalg.norm(answer) <= limit * np.linalg.norm(owed):
                return share
            share += float(np.sum(answer * alone) / max(1e-30, np.sum(alone**2)))
    return None


def _grows(setting: _run.Setting, state, owed: np.ndarray, share: float) -> bool:
    """Whether what is owed grows by the same share again; a momentum comes to rest."""
    zeros = np.zeros(setting.shape)
    second = _answer_to(setting, state, zeros, 1)
    rest = share * owed - _run.exact_array(second.seen)
    again = _owed_share(setting, second.state, rest)
    return again is not None and again - 1 > 0.99 * (share - 1)


def _holds(state, wanted: np.ndarray) -> bool:
    """Whether an array of the state is this one, but for rounding."""
    return any(
        np.linalg.norm(_run.exact_array(array).reshape(wanted.shape) - wanted)
        <= _HELD * np.linalg.norm(wanted)
        for array in jax.tree.leaves(state)
        if array.size == wanted.size and jnp.issubdtype(array.dtype, jnp.inexact)
    )


def _equal_steps(setting: _run.Setting, leaf: jax.Array, what: str):
    """Return what arrives of a leaf that never changes, and all states."""
    leaves = jnp.broadcast_to(leaf, (_programs.STEPS, *leaf.shape))
    keys = _run.many_steps(setting.keys(), _programs.STEPS)
    with _run.on_inputs(f"{what} at each of {_programs.STEPS} steps"):
        program = _run.compile_steps(setting.compressor)
        seen, states = program(setting.compressor.init(leaf), leaves, keys)
    return _run.exact_array(seen), states


def _require_bounded(
    setting: _run.Setting, leaf: jax.Array, share: float | None, what: str
) -> None:
    """Raise when more arrives of a leaf that never changes than there is of it."""
    if share is None or share > 1 + _GROWTH:
        return  # a momentum, which amplifies
    seen, _ = _equal_steps(setting, leaf, what)
    exact = _run.exact_array(leaf)
    arrives = float(np.sum(seen.mean(axis=0) * exact) / np.sum(exact**2))
    _run.require_true(
        arrives <= _AT_MOST,
        f"on {what} that never changes {arrives:.4g} times the leaf arrives, on "
        f"average of {_programs.STEPS} steps: what is sent is not taken from what is "
        "kept.",
    )


def _require_copy(setting: _run.Setting, leaf: jax.Array, what: str) -> None:
    """Raise unless the sender knows the sum of all that it sent, and it goes on."""
    seen, states = _equal_steps(setting, leaf, what)
    sums, exact = np.cumsum(seen, axis=0), _run.exact_array(leaf)
    for step in (2, _programs.STEPS - 1):
        state = jax.tree.map(lambda array, step=step: array[step], states)
        _run.require_true(
            _holds(state, sums[step]),
            f"on {what} no array of the state is the sum of all that was sent in "
            f"{step + 1} steps, which `Compressor(incremental=True)` says that "
            "receivers keep: sender and receivers drift apart.",
        )
    left = np.linalg.norm(exact - sums[-1]) / np.linalg.norm(exact)
    _run.require_true(
        left < np.linalg.norm(exact - seen[0]) / np.linalg.norm(exact),
        f"on {what} that never changes the sum of all that was sent is {left:.3g} of "
        f"the norm of the leaf away from it after {_programs.STEPS} steps, no less "
        "than after the first.",
    )
