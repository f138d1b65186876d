"""The architecture: who may import whom, and a test file for every source file."""

import ast
import importlib
import pathlib

from tests import floors

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "jaxdist"
FLOOR_OF = {room: floor for floor, rooms in enumerate(floors.FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module):
    """Return the family of a module's path within the package, or its own name."""
    return module.split(".")[0]


def imports_of(path):
    """Return every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports_of(path):
    """Return what a file imports of the package, without its name, as files."""
    names = {n.removeprefix("jaxdist.") for n in imports_of(path) if "jaxdist." in n}
    return {
        name for name in names if (PACKAGE / f"{name.replace('.', '/')}.py").exists()
    }


def module_of(path):
    return str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".")


def test_no_edge_up_sideways_or_into_private_jax():
    for path in FILES:
        here = room_of(module_of(path))
        assert here in FLOOR_OF, f"{here} stands on no floor: add it to FLOORS"
        for name in imports_of(path):
            private = name.startswith(("jax._src", "optax._src", "jaxlib"))
            assert not private, f"{path} imports {name}"
        for name in own_imports_of(path):
            there = room_of(name)
            same_family = here == there and "." in name
            below = FLOOR_OF[there] < FLOOR_OF[here]
            assert same_family or below, f"{path} imports {name}"


def test_numerics_know_no_algorithm():
    for path in FILES:
        family, *rest = module_of(path).split(".")
        if rest[:1] == ["numerics"]:
            allowed = {f"{family}._compressor"}
            for name in own_imports_of(path):
                inside = name.startswith(f"{family}.numerics.")
                below = room_of(name) != family
                assert inside or below or name in allowed, f"{path} imports {name}"


def test_no_cycle():
    edges = {module_of(path): own_imports_of(path) for path in FILES}
    done = set()

    def visit(module, trail):
        assert module not in trail, f"cycle: {' -> '.join([*trail, module])}"
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, [*trail, module])
            done.add(module)

    for module in edges:
        visit(module, [])


def test_modules_are_imported_not_names():
    for path in FILES:
        if path.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxdist"):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}".removeprefix("jaxdist.")
                    file = PACKAGE / f"{target.replace('.', '/')}.py"
                    assert file.exists(), f"{path} imports the name {alias.name}"


def test_only_one_file_names_collectives_and_axis_types():
    words = {
        "all_gather", "all_to_all", "axis_index", "axis_size", "manual_axis_type",
        "manual_axes", "pcast", "pmax", "pmean", "pmin", "ppermute", "psum",
        "psum_scatter", "pvary", "vma",
    }  # fmt: skip
    for path in FILES:
        if module_of(path) == "_collectives":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in words:
                owner = ast.unparse(node.value)
                assert owner == "_collectives", f"{path}: {owner}.{node.attr}"


def test_every_source_file_has_its_test_file():
    for path in FILES:
        if path.name == "__init__.py":
            continue
        relative = path.relative_to(PACKAGE)
        mirror = ROOT / "tests" / relative.parent / f"test{relative.name}"
        assert mirror.exists(), f"write {mirror.relative_to(ROOT)}"


def list_of(family):
    """Return the file that lists the public names of a family."""
    return PACKAGE / family.replace(".", "/") / "__init__.py"


def public_imports_of(path):
    """Return the modules and names that a list of public names imports."""
    tree = ast.parse(path.read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return [
        (node.module, alias)
        for node in froms
        for alias in node.names
        if node.module.startswith("jaxdist") and alias.asname
    ]


def test_public_names_have_one_spelling():
    seen = {}
    for family in ("", *floors.FAMILIES):
        pairs = public_imports_of(list_of(family))
        assert all(alias.name == alias.asname for _, alias in pairs)
        modules = [module for module, _ in pairs if module != "jaxdist"]
        assert modules == sorted(modules)
        for module, alias in pairs:
            spelling = ".".join(filter(None, ["jaxdist", family, alias.name]))
            other = seen.setdefault((module, alias.name), spelling)
            assert other == spelling, f"{other} is also {spelling}"


def test_what_completion_shows_is_public():
    for family in ("", *floors.FAMILIES):
        module = importlib.import_module(".".join(filter(None, ["jaxdist", family])))
        pairs = public_imports_of(list_of(family))
        shown = {name for name in dir(module) if not name.startswith("_")}
        assert shown == {alias.name for _, alias in pairs}
