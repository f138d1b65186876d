"""Shuffle plan: what a server broadcasts so that each worker finds its next points."""

import dataclasses
import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from jaxdist import _checks
from jaxdist.coding import _binary, _coded_storage


class _FoundPart(NamedTuple):
    """How a worker finds a part: the sum of some packets and of parts that it holds."""

    place: int
    packets: list[int]
    places: list[int]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ShufflePlan:
    """What is broadcast for one shuffle, and how it is understood.

    Attributes:
      before: The storage that workers have.
      after: The storage that they have then, for the plan of the next shuffle.
      packets: Of which parts each packet is the sum modulo 2, as places
        ``point * num_parts + part``.
    """

    before: _coded_storage.CodedStorage
    after: _coded_storage.CodedStorage
    packets: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        """Return the load, and for whom it is."""
        return f"ShufflePlan({self.load:.4g} points to {self.before.num_workers})"

    @property
    def load(self) -> float:
        """Points that the server broadcasts, and that each worker receives."""
        return len(self.packets) / self.before.num_parts

    @property
    def lacks(self) -> np.ndarray:
        """Points that each worker lacks, float ``[K]``: what it gets without a code."""
        new = self.after.held & ~self.before.held
        return new.sum(axis=(1, 2)) / self.before.num_parts

    def encode(self, points: Any) -> np.ndarray:
        """Return what the server broadcasts.

        Args:
          points: ``[N, ...]`` of any dtype of fixed size.

        Returns:
          uint8 ``[packets, size]``.

        Raises:
          ValueError: If these are not N points.
        """
        parts = self.before.split(points)
        flat = parts.reshape(-1, parts.shape[-1])
        sums = [np.bitwise_xor.reduce(flat[list(places)]) for places in self.packets]
        return np.array(sums, np.uint8).reshape(len(sums), flat.shape[1])

    def decode(self, worker: int, packets: Any, memory: Any) -> np.ndarray:
        """Return what a worker holds after the shuffle.

        Args:
          worker: Its index, in [0, K).
          packets: uint8 ``[packets, size]``, of :meth:`encode`.
          memory: uint8 ``[N, P, size]``, what it holds before, of
            :meth:`CodedStorage.fill` or of the last :meth:`decode`.

        Returns:
          uint8 ``[N, P, size]``, zeros for what it need not hold any longer.

        Raises:
          ValueError: If there is no such worker, or shapes do not fit.
        """
        worker = _checks.integer("worker", worker, 0, self.before.num_workers - 1)
        packets, memory = np.asarray(packets), np.asarray(memory)
        size = memory.shape[-1] if memory.ndim else 0
        self._check_bytes("memory", memory, (*self.before.labels.shape[:2], size))
        self._check_bytes("packets", packets, (len(self.packets), size))
        flat = memory.reshape(-1, memory.shape[-1])
        seen = flat.copy()
        for found in self._findings[worker]:
            seen[found.place] = np.bitwise_xor.reduce(packets[found.packets])
            seen[found.place] ^= np.bitwise_xor.reduce(flat[found.places])
        kept = self.after.held[worker].reshape(-1, 1)
        return np.where(kept, seen, np.uint8(0)).reshape(memory.shape)

    def _check_bytes(self, name, value, shape):
        if value.dtype != np.uint8 or value.shape != shape:
            raise ValueError(
                f"`{name}` must be uint8 {shape} for {self!r}, got {value.dtype} "
                f"{value.shape}."
            )

    @functools.cached_property
    def _findings(self) -> list[list[_FoundPart]]:
        """How each worker finds what it lacks."""
        sums = [sum(1 << place for place in places) for places in self.packets]
        before, after = self.before.held, self.after.held
        return [
            _find_parts(sums, had.reshape(-1), has.reshape(-1))
            for had, has in zip(before, after, strict=True)
        ]


def shuffle_plan(
    storage: _coded_storage.CodedStorage, owners: np.ndarray
) -> ShufflePlan:
    """Plan what a server broadcasts, so that points have other owners.

    Args:
      storage: What workers hold, of :func:`coded_storage` or ``after`` of a plan.
      owners: int ``[N]``, the worker that owns each point next; each N/K of them.

    Returns:
      The plan. Its ``load`` is at most that of :func:`coded_storage`; shuffles in which
      points move in several cycles, or stay, cost less. Of one point for each worker
      and g cycles (a point that stays is one) the moving scheme sends
      ``comb(K-1, c+1) - comb(g-1, c+1)`` packets of 1/P points.

    Raises:
      TypeError: If ``storage`` is none.
      ValueError: If ``owners`` are not N/K points for each worker.

    Communication:
      None; this is NumPy, for simulations and as an oracle.

    Example:
      >>> import numpy as np
      >>> storage = jaxdist.coding.coded_storage(num_workers=3, num_caches=1)
      >>> points = np.array([1.5, np.pi, -2.0])
      >>> plan = jaxdist.coding.shuffle_plan(storage, np.array([1, 2, 0]))
      >>> packets, memories = plan.encode(points), storage.fill(points)
      >>> memory = plan.decode(1, packets, memories[1])
      >>> print(plan, plan.after.own_points(1, memory, like=points))
      ShufflePlan(0.5 points to 3) [1.5]

    References:
      As in :func:`coded_storage`. Several points for each worker are shuffled one
      matching of workers after the other.
    """
    _checks.instance(
        "storage",
        storage,
        _coded_storage.CodedStorage,
        "jaxdist.coding.coded_storage(4, 1)",
    )
    owners = _checked_owners(owners, storage)
    if storage.scheme == "moving":
        sums = _moving_sums(storage, owners)
        after = dataclasses.replace(
            storage, owners=owners, labels=_moved_labels(storage, owners)
        )
    else:
        sums = _static_sums(storage, owners)
        after = dataclasses.replace(storage, owners=owners)
    packets = tuple(tuple(_binary.places_of(bits)) for bits in sums)
    return ShufflePlan(storage, after, packets)


def _checked_owners(value, storage):
    """Return the next owners ``[N]``, or raise."""
    try:
        owners = np.asarray(value)
    except (TypeError, ValueError):
        owners = np.empty(0)
    each = storage.num_points // storage.num_workers
    is_row = owners.shape == (storage.num_points,) and owners.dtype.kind in "iu"
    expected = np.repeat(np.arange(storage.num_workers), each)
    if not is_row or np.any(np.sort(owners) != expected):
        raise ValueError(
            f"`owners` must give each of {storage.num_workers} workers {each} of "
            f"{storage.num_points} points, got {value!r}."
        )
    return owners.astype(int)


def _find_parts(sums, had, has) -> list[_FoundPart]:
    """Return how the parts are found that a worker has and had not, bool ``[N P]``."""
    known = sum(1 << int(place) for place in np.flatnonzero(had))
    reduced = _binary.reduce_rows([bits & ~known for bits in sums])
    findings = []
    for place in map(int, np.flatnonzero(has & ~had)):
        found = reduced.get(1 << place)
        if found is None or found.row != 1 << place:
            raise ValueError(
                "`packets` must tell each worker what it lacks, got a plan by hand "
                f"that does not tell part {place}."
            )
        used = list(_binary.places_of(found.rows))
        total = functools.reduce(lambda a, b: a ^ b, (sums[row] for row in used))
        places = list(_binary.places_of(total & known))
        findings.append(_FoundPart(place, used, places))
    return findings


def _part_numbers(storage):
    """Return for each point which part has a label, by the label's bits."""
    bits = storage.labels @ (1 << np.arange(storage.num_workers))  # [N, P]
    return [{int(label): part for part, label in enumerate(row)} for row in bits]


def _label_bits(workers):
    """Return the bits of a label."""
    return sum(1 << worker for worker in workers)


def _moving_sums(storage, owners):
    """Return the packets of the moving scheme, as bits of parts."""
    parts = _part_numbers(storage)
    sums = []
    for leaving in _matchings(storage.owners, owners, storage.num_workers):
        source = np.empty(storage.num_workers, int)  # whose point comes to a worker
        source[owners[leaving]] = np.arange(storage.num_workers)
        sums += _binary.independent_rows(
            _sums_of_matching(leaving, source, parts, storage)
        )
    return sums


def _sums_of_matching(leaving, source, parts, storage):
    """Return sums for a matching in which worker i gets the point of ``source[i]``."""
    num_workers, num_caches = storage.num_workers, storage.num_caches

    def part_bit(owner, label):
        """Return the bit of a part, or 0 where there is none of that label."""
        if len(label) != num_caches or owner in label:
            return 0
        point = int(leaving[owner])
        return 1 << point * storage.num_parts + parts[point][_label_bits(label)]

    # The last worker is left out: what it lacks is in the sums for the others.
    for chosen in itertools.combinations(range(num_workers - 1), num_caches + 1):
        group = set(chosen)
        bits = 0
        for worker in chosen:
            other = int(source[worker])
            bits ^= part_bit(worker, group - {worker})
            if other in group:
                bits ^= part_bit(other, group - {other})
            for outside in set(range(num_workers)) - group:
                bits ^= part_bit(other, (group | {outside}) - {worker, other})
        yield bits


def _static_sums(storage, owners):
    """Return the packets of the static scheme, as bits of parts."""
    parts = _part_numbers(storage)
    moves = np.flatnonzero(owners != storage.owners)
    workers = range(storage.num_workers)
    wanted = [[int(n) for n in moves if owners[n] == worker] for worker in workers]
    sums = []
    for chosen in itertools.combinations(workers, storage.num_caches + 1):
        for points in itertools.zip_longest(*(wanted[worker] for worker in chosen)):
            bits = 0
            for worker, point in zip(chosen, points, strict=True):
                if point is not None:
                    part = parts[point][_label_bits({*chosen} - {worker})]
                    bits ^= 1 << point * storage.num_parts + part
            sums.append(bits)
    return sums


def _moved_labels(storage, owners):
    """Return labels in which the old owner stands where the new one stood."""
    labels = storage.labels.copy()
    for point in np.flatnonzero(owners != storage.owners):
        old, new = storage.owners[point], owners[point]
        labels[point, :, old] = labels[point, :, new]
        labels[point, :, new] = False
    return labels


def _matchings(old, new, num_workers):
    """Yield rows ``[K]`` of points, one that leaves each worker and one that comes.

    As many points as leave a worker come to it, so a matching is always left. Points
    that stay are taken first: several of them in one matching cost less.
    """
    left = set(range(len(old)))
    while left:
        of_worker = [
            [n for n in sorted(left) if old[n] == w] for w in range(num_workers)
        ]
        for row in of_worker:
            row.sort(key=lambda n: new[n] != old[n])
        taken: dict[int, int] = {}  # which point comes to a worker

        def is_sent(worker, tried, of_worker=of_worker, taken=taken):
            """Whether a point of the worker finds a place, perhaps another's."""
            for point in of_worker[worker]:
                there = int(new[point])
                if there in tried:
                    continue
                tried.add(there)
                if there not in taken or is_sent(int(old[taken[there]]), tried):
                    taken[there] = point
                    return True
            return False

        for worker in range(num_workers):
            is_sent(worker, set())
        leaving = np.empty(num_workers, int)
        for point in taken.values():
            leaving[old[point]] = point
        yield leaving
        left -= set(taken.values())
