"""Print the ratios of a pytest-benchmark file as a Markdown table.

python benchmarks/table.py out/benchmarks.json
"""

import collections
import json
import sys


def main(path: str) -> None:
    """Print each result as a multiple of the fastest reference of its group."""
    with open(path) as file:
        results = json.load(file)["benchmarks"]
    groups = collections.defaultdict(list)
    for result in results:
        groups[result["group"]].append(result)
    print("| what | median ms | times the reference |\n|---|---:|---:|")
    for group, members in groups.items():
        medians = [member["stats"]["median"] for member in members]
        reference = min(
            median
            for median, member in zip(medians, members, strict=True)
            if member["extra_info"]["reference"]
        )
        print(f"| **{group}** | | |")
        for median, member in sorted(zip(medians, members, strict=True), key=_median):
            name = member["param"] or member["name"]
            name = (
                member["name"].removeprefix("test_") if "[" in member["name"] else name
            )
            mark = " (reference)" if member["extra_info"]["reference"] else ""
            print(f"| {name}{mark} | {median * 1e3:.2f} | {median / reference:.2f} |")


def _median(pair):
    return pair[0]


if __name__ == "__main__":
    main(sys.argv[1])
