"""Eight CPU devices, strict dtypes and ranks, and which tests run."""

import gc
import pathlib
import re

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
# With more devices than cores, steps dispatched ahead wait for each other for ever.
jax.config.update("jax_cpu_enable_async_dispatch", False)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def standard_promotion():
    """Optax's own transformations mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


_MAPS = pathlib.Path("/proc/self/maps")
# Of 65,530 that Linux allows: a process with more is aborted. With 30,000 two processes
# took 15 GB at the end of the suite.
_MOST_MAPS = 18_000
_SELDOM = 20  # tests


@pytest.fixture(autouse=True, scope="session")
def _tests_run():
    """Count the tests of this process."""
    return []


@pytest.fixture(autouse=True)
def _few_programs(_tests_run):
    """Forget compiled programs, which take maps of memory, before there are too many.

    Those that are needed again come from the cache on disk, where there is one.
    """
    yield
    _tests_run.append(1)
    if len(_tests_run) % _SELDOM == 0 and _MAPS.exists():
        if _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
            jax.clear_caches()


CONTRACT = pathlib.Path(__file__).parent / "contract"


def pytest_addoption(parser):
    parser.addoption(
        "--demo", action="store_true", help="run the tests that train for minutes"
    )
    parser.addoption(
        "--rows-of",
        action="append",
        metavar="NAME",
        help="of the contract tables, only the rows that are made by this",
    )


def pytest_collection_finish():
    """Look for garbage seldom, and not among the tests: tracing makes very little."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 20)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--demo"):
        skip = pytest.mark.skip(reason="trains for minutes: opt in with --demo")
        for item in items:
            if "demo" in item.keywords:
                item.add_marker(skip)
    # What takes long begins first, so that no process waits for another in the end.
    # Tests that share programs follow each other, where one process runs all of them.
    first = {}
    for place, item in enumerate(items):
        first.setdefault(_shared_programs(item), place)
    items.sort(
        key=lambda item: ("slow" not in item.keywords, first[_shared_programs(item)])
    )
    if names := config.getoption("--rows-of"):
        chosen = [item for item in items if _is_chosen(item, names)]
        config.hook.pytest_deselected(items=[x for x in items if x not in chosen])
        items[:] = chosen


def _shared_programs(item):
    """Return the name of those with which a test shares programs, or its own."""
    group = item.get_closest_marker("xdist_group")
    return group.args[0] if group else item.nodeid


def _is_chosen(item, names):
    """Whether a test is outside the contract tables, or of a row of these names."""
    inside = item.path.parent == CONTRACT
    return not inside or (
        hasattr(item, "callspec") and is_row_of(item.callspec.id, names)
    )


def is_row_of(row, names):
    """Whether the name of a row begins with one of these: not where it is wrapped."""
    row = re.sub(r"(aggregate|attack)-", "", row)
    return any(re.search(rf"(^|-){re.escape(name)}(\W|$)", row) for name in names)
