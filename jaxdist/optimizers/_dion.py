"""Dion: orthonormal steps, of which only the factors travel."""

import dataclasses
import fnmatch
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _random, _tree
from jaxdist.aggregation import _aggregate, _share_momentum
from jaxdist.compression import _compressor, _error_feedback, _per_leaf, _power_sgd
from jaxdist.compression.numerics import _matrix
from jaxdist.optimizers import _adam, _descent
from jaxdist.workers import _shards


class DionState(NamedTuple):
    """State of :func:`dion`; equal on all workers but for the momenta of matrices."""

    count: jax.Array  # int32, shape ()
    momentum: Any  # like the parameters that are no matrices, float32 or wider
    variance: Any  # like them and real
    sent: Any  # state of the aggregation, with the momenta of matrices


def dion(
    axis_name: _collectives.AxisName,
    learning_rate: _descent.LearningRate,
    rank_fraction: float = 0.25,
    momentum: float = 0.95,
    b1: float = 0.9,
    b2: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: _descent.Mask = None,
    *,
    elementwise: Sequence[str] = (),
    axes: _matrix.MatrixAxes | None = None,
    key: int | jax.Array = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Take orthonormal steps in the directions that momenta have in common.

    .. math:: M_i \leftarrow M_i + G_i, \quad
       P = \mathrm{orth}\Big(\frac{1}{W}\sum_i M_i Q\Big), \quad
       R = \frac{1}{W}\sum_i M_i^\top P, \quad
       M_i \leftarrow M_i - (1 - \mu) P R^\top

    .. math:: Q \leftarrow \mathrm{colnorm}(R), \qquad
       X \leftarrow X - \eta \sqrt{m/n}\, P Q^\top

    for matrices of n inputs (rows) and m outputs (columns): Muon with a low rank, of
    which no matrix travels. Momenta are each worker's own; what their factors miss
    stays in them. All other leaves are for Adam, with the mean of their gradients,
    which travels in the first of the two messages.

    This is a whole optimizer; nothing stands before or behind it:
    ``data_parallel(loss, dion("data", 0.01), mesh, "data")``.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      learning_rate: :math:`\eta`, a number of at least 0 or a schedule, for matrices
        and for Adam; the paper takes 0.01 to 0.02 for all sizes of a model.
      rank_fraction: Rank of the factors as a share of the shorter side of a matrix, in
        (0, 1], no unit. A matrix whose factors would not be smaller is for Adam.
      momentum: :math:`\mu` in [0, 1), no unit: what stays of what was sent.
      b1: Decay of Adam's first moment in [0, 1), no unit.
      b2: Decay of Adam's second moment in [0, 1), no unit.
      eps: Added to the root of Adam's second moment, at least 0.
      weight_decay: Share of the weights that is taken off in units of
        :math:`\eta`, as in ``optax.adamw``.
      mask: Which weights decay: a tree of booleans, or a function of the parameters
        that makes it; all when None.
      elementwise: Shell patterns of paths, as in
        :func:`jaxdist.compression.by_leaf`, of matrices that are for Adam: name
        embeddings and the last layer, of which each row or column stands for itself,
        such as ``["embed/*", "head/*"]``.
      axes: As in :func:`jaxdist.compression.power_sgd`; ``MatrixAxes(columns=-1)`` when
        None. For layers that are scanned take ``MatrixAxes(batch=0, columns=-1)``.
      key: Seed or key of the first :math:`Q`; the same on all workers.

    Returns:
      An optimizer. Updates are equal on all workers. A worker of ``weight=0`` keeps its
      momenta and counts for nothing; without any worker nothing moves. What is not
      finite makes updates of its matrix that are not, but no momentum keeps it, and the
      next step draws a new :math:`Q`.

    Raises:
      TypeError: If ``elementwise`` or ``axes`` are none.
      ValueError: If a number is out of range, or ``mask`` is none; when applied, if a
        pattern matches no leaf, or a matrix is sharded inside of a worker, which would
        be orthonormal in parts only.

    Communication:
      Two all-reduces, of r(n+m) elements in float32 for each matrix, with rank r:
      2(W-1)/W · 4r(n+m) bytes; of other leaves 2(W-1)/W · 4 bytes per weight. Memory:
      4 bytes per weight of a matrix and 4rm for Q, 8 bytes of others.

    Example:
      >>> tx = jaxdist.optimizers.dion("data", 0.01, rank_fraction=1 / 16)
      >>> params = {"w": jnp.zeros((512, 512))}
      >>> report = jaxdist.communication_report(tx, params, 8)
      >>> print(round(report.total_nbytes / 512**2, 2), round(report.ratio, 1))
      0.88 8.0

    References:
      Ahn et al., `Dion: Distributed Orthonormalized Updates
      <https://arxiv.org/abs/2504.05295>`_, 2025, Algorithm 1 and Section 3.3. There
      weights have outputs first, a QR decomposition with random sketches makes P, and
      Lion may take the place of Adam.
    """
    matrices = _Matrices(
        _checks.real("rank_fraction", rank_fraction, 0.0, 1.0, above=True),
        _checks.real("momentum", momentum, 0.0, 1.0, below=True),
        _checked_patterns(elementwise),
        _checked_axes(axes),
    )
    adam = _adam.checked_adam(b1, b2, eps)
    descent = _descent.checked_descent(learning_rate, weight_decay, mask)
    _random.check_key(key)
    inner = _aggregate.aggregate(axis_name, None, matrices.policy(), "psum", key=key)

    def init(params):
        sent = _share_momentum.init_wide(inner, params)
        matrices.check_whole(params)
        zeros = _adam.zero_moments(axis_name, matrices.others(params))
        return DionState(jnp.zeros((), jnp.int32), *zeros, sent)

    def direct(step, state):
        arrived = step.send_gradient(axis_name, inner, state.sent)
        count = _tree.next_count(state.count)
        others = matrices.others(arrived.values)
        before = _adam.AdamMoments(state.momentum, state.variance)
        direction, moments = adam.step(others, before, count, step.is_there)
        direction = matrices.scaled(arrived.values, direction)
        return direction, DionState(count, *moments, arrived.inner_state)

    return _descent.whole_optimizer(axis_name, "dion", DionState, init, direct, descent)


def _checked_patterns(elementwise):
    """Return the patterns as a tuple, or raise."""
    is_several = isinstance(elementwise, Sequence) and not isinstance(elementwise, str)
    if not is_several or not all(isinstance(x, str) for x in elementwise):
        raise TypeError(
            "`elementwise` must be a sequence of shell patterns such as ['embed/*'], "
            f"got {elementwise!r}."
        )
    return tuple(elementwise)


def _checked_axes(axes):
    """Return the axes; the last are columns where nobody says otherwise."""
    _matrix.check_axes("axes", axes)
    return _matrix.MatrixAxes(columns=-1) if axes is None else axes


@dataclasses.dataclass(frozen=True)
class _Matrices:
    """Which leaves are matrices, and how they travel."""

    rank_fraction: float
    momentum: float
    elementwise: tuple[str, ...]
    axes: _matrix.MatrixAxes

    def rank_of(self, name, leaf):
        """Return the rank of the factors of a leaf, or None where it is for Adam."""
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.elementwise):
            return None
        stack = _matrix.stack_of(tuple(leaf.shape), self.axes)
        rank = max(1, round(self.rank_fraction * min(stack.matrix_shape)))
        return rank if stack.shrinks(rank) else None

    def policy(self):
        """Return what sends factors of matrices, and others as they are."""
        # One object for all leaves of a rank: those that are alike are asked together.
        of_rank = functools.cache(self._of_rank)

        def select(path, leaf):
            rank = self.rank_of(path, leaf)
            return _per_leaf.DENSE if rank is None else of_rank(rank)

        name = f"orthonormal({self.rank_fraction})"
        return _compressor.LeafPolicy(select, name, patterns=self.elementwise)

    def _of_rank(self, rank):
        low_rank = _power_sgd.power_sgd(rank, axes=self.axes)
        return _orthonormal(
            low_rank, _error_feedback.error_feedback(low_rank, keep=self.momentum)
        )

    def others(self, tree):
        """Return a tree with holes in the place of matrices."""

        def other(path, leaf):
            is_other = self.rank_of(_tree.path_name(path), leaf) is None
            return leaf if is_other else optax.MaskedNode()

        return jax.tree.map_with_path(other, tree)

    def scaled(self, values, direction):
        """Return a direction whose holes are filled with steps of matrices."""

        def fill(value, other):
            if not isinstance(other, optax.MaskedNode):
                return other
            n, m = _matrix.stack_of(value.shape, self.axes).matrix_shape
            return math.sqrt(m / n) * value

        return jax.tree.map(fill, values, direction)

    def check_whole(self, params):
        """Raise where a matrix is sharded inside of a worker."""
        shards = _shards.declared_for(params)
        if shards is None:
            return
        specs = shards.specs_like(params)
        for (name, leaf), spec in zip(_tree.named_leaves(params), specs, strict=True):
            if any(spec) and self.rank_of(name, leaf) is not None:
                raise _checks.LayoutError(
                    f"`params` leaf {name!r} is sharded inside of a worker, as {spec}, "
                    "so that dion would make each shard orthonormal for itself. Keep "
                    "it whole, or name it in `elementwise`."
                )


def _orthonormal(
    low_rank: _compressor.Compressor, feedback: _compressor.Compressor
) -> _compressor.Compressor:
    """Return feedback whose mean has orthonormal factors, whatever it remembers.

    Args:
      low_rank: What finds the factors.
      feedback: Around it.
    """
    talk, plain = feedback.dialogue, low_rank.dialogue
    assert talk is not None and plain is not None  # both are power_sgd's

    def finish(leaf, state, keys, means):
        _, after = talk.finish(leaf, state, keys, means)
        left, right = means
        units = (left, _unit_columns(right))
        direction, _ = plain.finish(leaf, state.inner_state, keys, units)
        return direction, after

    return feedback._replace(dialogue=_compressor.Dialogue(talk.rounds, finish))


def _unit_columns(right: Any) -> Any:
    """Return columns of length 1; those that are zero stay so."""

    def unit(columns):
        columns = _tree.widened(columns)
        for size in (jnp.max, jnp.linalg.norm):  # the first keeps squares in range
            found = size(jnp.abs(columns), axis=-2, keepdims=True)
            # A comparison with NaN is false, so that what is not finite stays so.
            columns = columns / jnp.where(found > 0, found, 1)
        return columns

    return jax.tree.map(unit, right)
