"""Print our rules and ByzFL's, by numpy and by torch, as two Markdown tables.

python benchmarks/peers/rules.py .venv-byzfl/bin/python

Each side runs in its own environment, on one core, with the same inputs: normal
numbers, the last f rows times 3. Times are processor times, the least of a few.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TIMEOUT = 900  # seconds for one process
FEW, MANY = (16, 3), (64, 15)  # workers, Byzantine ones
CELLS = [
    *((*FEW, 10**power) for power in (5, 6, 7)),
    *((*MANY, 10**power) for power in (5, 6)),
]
COLUMNS = ["W", "f", "d", "rule", "ours, ms", "numpy, ms", "torch, ms"]
COLUMNS += ["faster", "means", "error"]


def main() -> None:
    """Measure both sides of each cell, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="interpreter of the environment of byzfl")
    parser.add_argument("--largest", type=int, default=10**7, help="columns at most")
    options = parser.parse_args()
    peers = os.path.abspath(options.python)
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{'|'.join(['---:'] * 3 + ['---'] + ['---:'] * 6)}|")
    found = {}
    for cell in CELLS:
        if cell[2] <= options.largest:
            found[cell] = (
                _run(sys.executable, "rules_ours.py", cell),
                _run(peers, "rules_theirs.py", cell),
            )
            _show(cell, *found[cell])
    _summarize(found)


def _run(python, script, cell):
    """Return ``{rule: {seconds, head}}``; what a side cannot do is left out."""
    pinned = dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
    )
    done = subprocess.run(
        ["taskset", "-c", "0", python, script, *map(str, cell)],
        cwd=HERE,
        env={
            **os.environ,
            **pinned,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(HERE.parents[1]),
        },
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT,
    )
    return json.loads(done.stdout)


def _show(cell, ours, theirs):
    mean = ours["numpy mean"]["seconds"]
    for name, mine in ours.items():
        both = [theirs.get(f"{name} {kind}") for kind in ("numpy", "torch")]
        known = [peer for peer in both if peer]
        faster = min((p["seconds"] for p in known), default=0) / mine["seconds"]
        error = _difference(mine, known[0]) if known else None
        row = [
            *cell,
            name,
            _ms(mine),
            *(_ms(peer) if peer else "" for peer in both),
            f"{faster:.1f}x" if known else "",
            f"{mine['seconds'] / mean:.1f}",
            f"{error:.0e}" if error is not None else "",
        ]
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def _summarize(found):
    """Print a line for each rule: milliseconds, and times faster than ByzFL."""
    names = [f"W = {w}, d = {d:.0e}".replace("+0", "") for w, _, d in found]
    print(f"\n| rule | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    rules = dict.fromkeys(name for ours, _ in found.values() for name in ours)
    for rule in rules:
        cells = []
        for ours, theirs in found.values():
            peers = [theirs.get(f"{rule} {kind}") for kind in ("numpy", "torch")]
            best = min((peer["seconds"] for peer in peers if peer), default=None)
            faster = f", {best / ours[rule]['seconds']:.1f}x" if best else ""
            cells.append(_ms(ours[rule]) + faster if rule in ours else "")
        print(f"| {rule} | {' | '.join(cells)} |")


def _difference(mine, peer):
    """Return the largest difference of some coordinates."""
    pairs = zip(mine["head"], peer["head"], strict=True)
    return max(abs(left - right) for left, right in pairs)


def _ms(result):
    return f"{result['seconds'] * 1e3:.1f}"


if __name__ == "__main__":
    main()
