"""Run the tests of what changed, or of a name, in less than a minute.

``python -m tests.quick`` runs the tests that mirror the files which differ from the
merge base with main: ``tests/rules/test_krum.py`` for ``jaxdist/rules/_krum.py``, and
the rows of the contract tables that are made by it. ``python -m tests.quick krum`` does
this for a name. Other arguments go to pytest; what takes long is left to the full run.
"""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
WITH_ROWS = ("attacks", "coding", "compression", "gossip", "rules")


def changed_files():
    """Return what differs from the merge base with main, new files too."""

    def git(*words):
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.split()

    base = git("merge-base", "HEAD", "main") or ["HEAD"]
    named = git("diff", "--name-only", *base) + git(
        "ls-files", "--others", "--exclude-standard"
    )
    return [pathlib.Path(name) for name in named]


def mirror_test(path):
    """Return the tests of a file of the package, or the path of a test itself."""
    if path.parts[0] == "tests":
        return path
    return pathlib.Path(
        "tests", *path.parts[1:-1], f"test_{path.stem.removeprefix('_')}.py"
    )


def tests_of_changes(paths):
    """Return the test files of changed files, and the names of rows to run."""
    python = [p for p in paths if p.suffix == ".py" and p.stem != "__init__"]
    ours = [path for path in python if path.parts[0] in ("jaxdist", "tests")]
    mirrors = {mirror_test(path) for path in ours}
    files = [path for path in mirrors if path.stem.startswith("test_")]
    names = [
        path.stem.removeprefix("_")
        for path in ours
        if path.parts[:-1] in [("jaxdist", room) for room in WITH_ROWS]
    ]
    return sorted(str(path) for path in files if (ROOT / path).exists()), names


def tests_of_name(name):
    """Return the test files of a name, and itself as the name of rows."""
    found = (ROOT / "tests").rglob(f"test_{name}.py")
    return sorted(str(path.relative_to(ROOT)) for path in found), [name]


def main(arguments):
    """Run pytest, and return its status; nothing to run is no error."""
    names = [word for word in arguments if not word.startswith("-")]
    options = [word for word in arguments if word.startswith("-")]
    if names:
        files, rows = tests_of_name(names[0])
    else:
        files, rows = tests_of_changes(changed_files())
    if rows:
        files.append("tests/contract")
    if not files:
        print("No test mirrors what changed.")
        return 0
    chosen = [f"--rows-of={name}" for name in rows]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow and not demo"]
    status = subprocess.run([*command, *chosen, *options, *files], cwd=ROOT).returncode
    return 0 if status == 5 else status  # 5: nothing was collected


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
