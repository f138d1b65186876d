"""The protocols of compression: compressors, their contracts, policies.

``encode`` and ``decode`` both take keys. A compressor that sends no indices (random-k)
draws the same coordinates at the receiver: every receiver can compute every sender's
keys, so nothing random travels.

``accumulate`` adds a payload to a total without decoding it densely. The mean of W
gathered payloads then needs one accumulator instead of W gradients, and is added in a
fixed order.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxdist import _random

CompressorState = Any
Payload = Any


def _unbounded_variance(size: int) -> float:
    """A squared error without any bound."""
    del size
    return math.inf


@dataclasses.dataclass(frozen=True)
class Contract:
    r"""What a compressor :math:`C` promises, and what others may rely on.

    Every promise holds for each block on its own, for the state that ``init`` returns
    and for finite inputs in the normal range of their dtype. The contract stores one
    bound, the variance, and computes the contraction: two fields could disagree.

    Whatever else is promised, what is finite arrives finite: where scaling would
    overflow, the largest number of the dtype arrives. Numbers below the least normal
    one (1.2e-38 in float32), on their way too, may count as zero, as they do on most
    machines.

    Attributes:
      unbiased: :math:`\mathbb{E}\,C(x) = x` over the keys.
      variance: Maps the number :math:`d` of elements in a block to
        :math:`\omega`, no unit, with
        :math:`\mathbb{E}\|C(x)-x\|^2 \le \omega\|x\|^2`.
      linear: Decoding the mean of the workers' payloads gives the mean of what was
        sent, so that payloads may be summed while they travel.
      splittable: ``encode`` accepts ``blocks > 1``.
      stochastic: The result depends on the keys. Without it there are none: both are
        None, and states hold no key for it.
      aligned: All workers keep the same coordinates, and most elements survive, so
        that coordinate-wise rules compare like with like. A quantizer so coarse that it
        rounds most elements to zero gives a median of zero, just as top-k does. Those
        rules refuse what does not promise it.
      projection: Some coordinates of :math:`x`, padded with zeros, in an orthonormal
        basis are sent as they are, and nothing else, so that :math:`C(x)` and
        :math:`x - C(x)` are orthogonal where nothing is padded. The error of a
        quantizer behind it is then orthogonal to what was dropped. No bound on
        :math:`\omega` alone can say this.
      keeps_zeros: Elements that are zero arrive as zero. A sparsifier fills the room
        that it does not need with zeros, and a quantizer behind it must keep them.
    """

    unbiased: bool = False
    variance: Callable[[int], float] = _unbounded_variance
    linear: bool = False
    splittable: bool = True
    stochastic: bool = False
    aligned: bool = False
    projection: bool = False
    keeps_zeros: bool = False

    def contraction(self, size: int) -> float:
        r"""Return :math:`\delta = 1 - \omega`; a contraction when it is positive.

        :math:`\mathbb{E}\|C(x)-x\|^2 \le (1-\delta)\|x\|^2`.

        Args:
          size: Number :math:`d` of elements in a block.
        """
        return 1.0 - self.variance(size)


class Dialogue(NamedTuple):
    """A mean found in several all-reduces, each built on the means before.

    PowerSGD needs it: its second all-reduce depends on the result of the first.
    Feedback wraps a dialogue: it replaces the leaf by the leaf plus the residual, and
    compares that with the mean that was found.

    Attributes:
      rounds: For each all-reduce ``(leaf, state, keys, means) -> payload``, with the
        means of the earlier rounds' payloads. Together the payloads have the shapes of
        what ``encode`` returns.
      finish: ``(leaf, state, keys, means) -> (mean, state)`` with the means of all
        rounds. ``mean`` has the shape of the leaf, its dtype or a wider one, and
        depends on nothing that differs between workers.
    """

    rounds: tuple[Callable[[Any, CompressorState, _random.Keys, tuple], Payload], ...]
    finish: Callable[
        [Any, CompressorState, _random.Keys, tuple], tuple[Any, CompressorState]
    ]


class Compressor(NamedTuple):
    """What one worker sends instead of one leaf.

    A payload is a pytree of arrays that holds exactly the bytes that travel. Every
    array in it has a leading axis ``blocks``, and each block decodes alone. Block ``j``
    of a leaf is the ``j``-th of ``blocks`` equal runs of its elements in row-major
    order, the last ones padded with zeros.

    Attributes:
      init: ``(leaf) -> state``; ``()`` when there is none.
      encode: ``(leaf, state, keys, blocks) -> (payload, state)``.
      decode: ``(payload, like, keys) -> leaf`` with the shape and dtype of ``like``.
        Takes the keys of the sender. A single block decodes with ``like`` of shape
        ``(block size,)``.
      contract: What it promises.
      name: How reports and errors call it.
      accumulate: ``(total, payload, keys, share) -> total + share * decode(payload)``
        for compressors that can add without decoding densely, or None.
      incremental: What is decoded is to be added to all that the same sender sent
        before; receivers keep that sum, which starts at zero. The sender adds the same
        decoded payloads to its own copy, so both agree bit by bit although the sum
        never travels.
      dialogue: How the route psum finds the mean of what cannot be averaged payload by
        payload, or None.
      remembers: The state holds what was not sent. A second memory around it would send
        that twice.
      absent: ``(before, after, keys) -> state`` of a worker that was absent in a step:
        ``before`` is its state, ``after`` what the step would have made of it. Needed
        where a state holds what all workers must know alike; None keeps ``before``.
    """

    init: Callable[[Any], CompressorState]
    encode: Callable[
        [Any, CompressorState, _random.Keys, int], tuple[Payload, CompressorState]
    ]
    decode: Callable[[Payload, Any, _random.Keys], jax.Array]
    contract: Contract
    name: str = "custom"
    accumulate: Callable[[jax.Array, Payload, _random.Keys, Any], jax.Array] | None = (
        None
    )
    incremental: bool = False
    dialogue: Dialogue | None = None
    remembers: bool = False
    absent: (
        Callable[[CompressorState, CompressorState, _random.Keys], CompressorState]
        | None
    ) = None

    def __repr__(self):
        return self.name


class LeafPolicy(NamedTuple):
    """Which compressor each leaf gets; made by :func:`jaxdist.compression.by_leaf`.

    Attributes:
      select: ``(path, leaf) -> compressor`` with the path as ``"layer/kernel"``.
      name: How reports and errors call it.
      joint: Compressor whose leaves are compressed as a single vector, or None.
      patterns: Shell patterns of paths, each of which must match a leaf.
      stochastic: Whether any of the compressors may draw.
    """

    select: Callable[[str, Any], Compressor]
    name: str = "custom policy"
    joint: Compressor | None = None
    patterns: tuple[str, ...] = ()
    stochastic: bool = True

    def __repr__(self):
        return self.name


class StepPolicy(NamedTuple):
    """Which compressor is used when; made by :func:`jaxdist.compression.by_step`.

    Attributes:
      starts: The first step of each stage, ascending from 0.
      stages: The compressor or leaf policy of each stage.
      name: How reports and errors call it.
    """

    starts: tuple[int, ...]
    stages: tuple[Compressor | LeafPolicy, ...]
    name: str

    def __repr__(self):
        return self.name


AnyCompressor = Compressor | LeafPolicy | StepPolicy


def may_draw(compressor: AnyCompressor | None) -> bool:
    """Whether a compressor, or one of a policy's, may draw; without looking at leaves.

    `optax.tree_map_params` makes a state for a tree without leaves, which must have the
    structure of all others.
    """
    if isinstance(compressor, Compressor):
        return compressor.contract.stochastic
    if isinstance(compressor, LeafPolicy):
        return compressor.stochastic
    return compressor is not None and any(map(may_draw, compressor.stages))
