"""The plan of a leaf: what compresses it, and how it travels; known from its shape.

`auto` chooses a route for each leaf. Small dense leaves would dominate a gathered
message: with top-1 % on eight workers the biases alone cost 7 times their share. The
leaves of a route still travel as one message.

The program of a TPU starts an all-gather, goes on with a loop, and ends it behind the
loop; its all-reduce waits for the loop. So where computations go on meanwhile, `auto`
leaves the route psum out, but for a dialogue, which exists on that route alone. It
costs a dense mean no byte: an all-reduce sends as much as an all-to-all and an
all-gather.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _collectives, _traffic, _tree
from jaxdist.aggregation import _routes
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.workers import _shards

_LIGHTEST_FIRST = (_routes.PSUM, _routes.SCATTER, _routes.GATHER)  # on memory


class LeafPlan(NamedTuple):
    """How one leaf travels; known from shapes alone."""

    name: str
    like: jax.ShapeDtypeStruct  # of the leaf
    compressor: _compressor.Compressor
    downlink: _compressor.Compressor
    route: _routes.Route
    num_workers: int
    averages: bool = False  # receivers need no more than the mean of all payloads
    other_axes: tuple[
        str, ...
    ] = ()  # over which the leaf varies, other than the workers'
    padding: float = 0.0  # share of the bytes that carries nothing, there and back
    bucket: int = 0  # which message it is part of, of several one after the other
    is_stepped: bool = False  # whether an optimizer steps before anything travels back

    @property
    def blocks(self) -> int:
        """Into how many parts the leaf is cut before it is encoded."""
        return self.route.blocks_of(self.num_workers)

    @property
    def dialogue(self) -> _compressor.Dialogue | None:
        """How the leaf's mean is found in rounds, where its route is psum."""
        return self.compressor.dialogue if self.route.averages else None

    @property
    def shard(self) -> jax.ShapeDtypeStruct:
        """What one worker owns of the leaf on the route scatter."""
        size = _tree.block_size(self.like.size, self.num_workers)
        return jax.ShapeDtypeStruct((size,), self.like.dtype)

    @property
    def decoded(self) -> jax.ShapeDtypeStruct:
        """What a worker decodes of the leaf, in the dtype in which rules work."""
        whose = self.shard if self.route.has_parts else self.like
        return _tree.like_leaf(whose, _tree.accumulator_dtype(whose.dtype))

    @property
    def estimate(self) -> Any:
        """What a receiver remembers of the leaf, or ``()``."""
        if not self.compressor.incremental:
            return ()
        size = (self.decoded.size,)
        shape = size if self.averages else (self.num_workers, *size)
        return jax.ShapeDtypeStruct(shape, self.decoded.dtype)

    @property
    def downlink_estimate(self) -> Any:
        """What all remember of the leaf's downlink, or ``()``."""
        if not (self.route.has_parts and self.downlink.incremental):
            return ()
        dtype = _tree.accumulator_dtype(self.like.dtype)
        return jax.ShapeDtypeStruct((self.num_workers, self.shard.size), dtype)

    @property
    def on_downlink(self) -> "LeafPlan":
        """How a worker's part of the leaf travels back: all gather it."""
        return self._replace(
            like=self.shard, compressor=self.downlink, route=_routes.GATHER
        )

    def nbytes_sent(self) -> float:
        """Return the bytes that each worker sends for the leaf in one step."""
        payload = _per_leaf.payload_like(
            self.compressor, self.like.shape, self.like.dtype, self.blocks
        )
        nbytes = sum(map(self.route.wire_nbytes, jax.tree.leaves(payload)))
        sent = self.route.nbytes_sent(nbytes, self.num_workers)
        if not self.route.has_parts:
            return sent
        nbytes = _per_leaf.payload_nbytes(self.downlink, self.shard)
        return sent + _routes.GATHER.nbytes_sent(nbytes, self.num_workers)

    def two_way_nbytes(self) -> float:
        """Return the bytes with the leaf's compressor on the way back too, or 0."""
        is_dense = self.compressor is _per_leaf.DENSE
        has_way_back = self.is_stepped or self.downlink is not _per_leaf.DENSE
        if is_dense or self.route.averages or has_way_back:
            return 0.0
        if _routes.SCATTER.obstacle(self.compressor, self.averages, True) is not None:
            return 0.0
        return self._replace(
            route=_routes.SCATTER, downlink=self.compressor
        ).nbytes_sent()

    def content(self, arrays: Any) -> _traffic.Content:
        """Return what the report says of arrays that travel for the leaf."""
        name = self.compressor.name
        if self.downlink is not _per_leaf.DENSE:
            name = f"{name}, back {self.downlink.name}"
        nbytes = sum(map(self.route.wire_nbytes, jax.tree.leaves(arrays)))
        return _traffic.Content(
            self.name,
            nbytes,
            self.like.shape,
            name,
            self.route.name,
            padding=self.padding,
            dense=_traffic.all_reduce_bytes(
                _tree.leaf_nbytes(self.like), self.num_workers
            ),
            two_way=self.two_way_nbytes() if _traffic.is_recording() else 0.0,
        )


class Wanted(NamedTuple):
    """What is asked for all leaves."""

    compressor: _compressor.Compressor | _compressor.LeafPolicy
    downlink: _compressor.Compressor | _compressor.LeafPolicy | None
    route: str  # a name, or "auto"
    rule_name: str
    is_mean: bool  # the rule is the plain mean
    needs_aligned: bool  # the rule compares coordinate by coordinate
    is_weighted: bool  # weights will be given
    is_fixed: bool  # what is kept of a leaf must not depend on W
    overlaps: bool = False  # other computations go on while it travels
    has_buckets: bool = False  # messages go one after the other


def plan_leaf(
    name: str, leaf: Any, num_workers: int, axis_name: Any, wanted: Wanted
) -> LeafPlan:
    """Choose the route of one leaf, or check the one that was asked for."""
    up = _per_leaf.select_compressor(wanted.compressor, name, leaf)
    down = _per_leaf.select_compressor(wanted.downlink or _per_leaf.DENSE, name, leaf)
    check_alignment(wanted.rule_name, wanted.needs_aligned, up)
    _check_real(name, leaf, wanted.is_mean, up, down)
    _check_shape(up)
    if wanted.downlink is not None and not down.contract.splittable:
        raise ValueError(
            f"`downlink` {down.name} needs the shape of a whole leaf, but on the way "
            "back each worker sends only its part. Use a compressor that splits."
        )
    # Weights differ from step to step, and a sum of what was sent has lost them.
    averages = wanted.is_mean and not (wanted.is_weighted and up.incremental)
    obstacles = {
        route.name: route.obstacle(up, averages, wanted.downlink is not None)
        for route in _LIGHTEST_FIRST
    }
    other_axes = _collectives.other_axes(leaf, axis_name)
    plans = [
        LeafPlan(
            *(name, _tree.like_leaf(leaf), up, down, route, num_workers),
            averages,
            other_axes,
            _padding_share(leaf.size, route.blocks_of(num_workers)),
        )
        for route in _LIGHTEST_FIRST
        if obstacles[route.name] is None
    ]
    _check_route(name, wanted, plans, obstacles, up, down)
    if wanted.route != "auto":
        return next(plan for plan in plans if plan.route.name == wanted.route)
    if wanted.overlaps and up.dialogue is None:
        plans = [plan for plan in plans if not plan.route.averages] or plans
    if wanted.is_fixed:
        return plans[0]
    if wanted.has_buckets and not up.incremental:
        return _cheapest_in_buckets(plans)
    if up.incremental:
        # Where estimates are kept must not depend on W: specs are made without it.
        return min(plans, key=lambda plan: plan.route.order)
    return min(plans, key=LeafPlan.nbytes_sent)


def _cheapest_in_buckets(plans):
    """Return the plan of fewest bytes, no all-reduce where that costs but padding.

    XLA joins several all-reduces to one, which then waits for the last leaf.
    """
    best = min(plans, key=LeafPlan.nbytes_sent)
    others = [plan for plan in plans if not plan.route.averages]
    if not best.route.averages or not others:
        return best
    other = min(others, key=LeafPlan.nbytes_sent)
    less_padding = (1 - other.padding) * other.nbytes_sent()
    return other if less_padding <= best.nbytes_sent() else best


def _padding_share(size, blocks):
    """Return which share of a leaf that is cut into blocks was added to fill them."""
    padded = blocks * _tree.block_size(size, blocks)
    return 1 - size / padded if padded else 0.0


def check_alignment(
    rule_name: str, needs_aligned: bool, compressor: _compressor.Compressor
) -> None:
    """Raise when the rule would compare coordinates that others did not keep."""
    if needs_aligned and not compressor.contract.aligned:
        raise ValueError(
            f"`rule` {rule_name} compares coordinate by coordinate, but "
            f"{compressor.name} does not promise `Contract(aligned=True)`: where "
            "workers keep different coordinates, almost all rows are zero in each, and "
            "so would be the result. Use a compressor that keeps the same ones "
            "everywhere (scaled_sign, qsgd, random_k, cast), or a rule that takes any "
            "(mean, krum)."
        )


def _check_shape(up):
    """Raise for compressors that need a shape which parts of leaves have lost."""
    if _shards.has_parts() and not up.contract.splittable:
        raise ValueError(
            f"`compressor` {up.name} needs the shape of a whole leaf, but inside of "
            "shard_optimizer each worker has a flat part. Use a compressor that splits."
        )


def _check_real(name, leaf, is_mean, up, down):
    """Raise when complex numbers would be compared or compressed."""
    is_dense = up is _per_leaf.DENSE and down is _per_leaf.DENSE
    is_complex = jnp.issubdtype(leaf.dtype, jnp.complexfloating)
    if is_complex and not (is_mean and is_dense):
        raise TypeError(
            f"`updates` leaf {name!r} is {leaf.dtype}, which only mean() can take, "
            "uncompressed. Split it into real and imaginary parts."
        )


def _check_route(name, wanted, plans, obstacles, up, down):
    """Raise when no route is possible, or not the one that was asked for."""
    if not plans:
        raise ValueError(
            f"`downlink` needs the route scatter, for which `compressor` {up.name} "
            "cannot be split. Use a compressor that splits, or no downlink."
        )
    if wanted.route != "auto" and obstacles[wanted.route]:
        possible = " or ".join(repr(plan.route.name) for plan in plans)
        raise ValueError(
            f"`route` {wanted.route!r} cannot carry leaf {name!r} with rule "
            f"{wanted.rule_name}, compressor {up.name} and downlink {down.name}: "
            f"{obstacles[wanted.route]} Use {possible}, or 'auto'."
        )


def row_dtype(plans: list[LeafPlan]) -> Any:
    """Return the dtype in which the rule works: float32 or wider."""
    return _tree.accumulator_dtype(*(plan.like.dtype for plan in plans))
