"""Write from the code what pages include: tables, and the pages of the API."""

import importlib
import importlib.util
import inspect
import math
import pathlib
import types

import jax
import jax.numpy as jnp

import jaxdist as jd

ROOT = pathlib.Path(__file__).parent.parent

SIZE = 2**20  # elements of a leaf of which contracts and bytes are stated
ROWS = [
    jd.compression.identity(),
    jd.compression.cast(jnp.bfloat16),
    jd.compression.blockwise_int(8),
    jd.compression.blockwise_int(4),
    jd.compression.blockwise_float8(),
    jd.compression.natural(),
    jd.compression.qsgd(8),
    jd.compression.qsgd(4, norm="max"),
    jd.compression.terngrad(),
    jd.compression.eden(4),
    jd.compression.eden(2),
    jd.compression.drive(),
    jd.compression.two_bit(64),
    jd.compression.one_bit(),
    jd.compression.scaled_sign(),
    jd.compression.top_k(0.01),
    jd.compression.top_k(0.01, 4096),
    jd.compression.dct_top_k(0.01),
    jd.compression.threshold(density=0.01, max_density=0.02),
    jd.compression.cat(jd.compression.PacketCost(), max_density=0.02),
    jd.compression.quantized(
        jd.compression.top_k(0.01, 4096), jd.compression.blockwise_int(8)
    ),
    jd.compression.random_k(0.01),
    jd.compression.random_k(0.01, shared=False),
    jd.compression.masked(jnp.arange(SIZE) % 100 == 0).select("", jnp.zeros(SIZE)),
    jd.compression.atomo(0.01),
    jd.compression.atomo(0.01, basis="dct"),
    jd.compression.atomo(0.01, basis="svd"),
    jd.compression.gspar(0.01),
    jd.compression.power_sgd(4),
]

NUM_WORKERS, NUM_BYZANTINE = 16, 3  # of which the constants of rules are stated
_F = NUM_BYZANTINE
RULES = [
    jd.rules.mean(),
    jd.rules.median(),
    jd.rules.trimmed_mean(_F),
    jd.rules.meamed(_F),
    jd.rules.phocas(_F),
    jd.rules.sign_majority(),
    jd.rules.krum(_F),
    jd.rules.multi_krum(_F),
    jd.rules.bulyan(_F),
    jd.rules.minimum_diameter(_F),
    jd.rules.minimum_variance(_F),
    jd.rules.smea(_F),
    jd.rules.geometric_median(),
    jd.rules.centered_clipping(10.0),
    jd.rules.cge(_F),
    jd.rules.monna(_F),
    jd.rules.aksel(_F),
    jd.rules.spectral_filter(_F, 1.0),
    jd.rules.caf(_F),
    jd.rules.dnc(_F),
    jd.rules.clipped_clustering(),
    jd.rules.fltrust(),
    jd.rules.zeno(_F, 0.1, 0.01),
    jd.rules.nnm(_F, then=jd.rules.trimmed_mean(_F)),
    jd.rules.nnm(_F, then=jd.rules.krum(_F)),
    jd.rules.bucketing(2, _F, then=jd.rules.trimmed_mean),
    jd.rules.arc(_F, then=jd.rules.nnm(_F, then=jd.rules.trimmed_mean(_F))),
    jd.rules.clipping(1.0, then=jd.rules.trimmed_mean(_F)),
]


def rules() -> str:
    """Return the table of rules in Markdown."""
    lines = [
        "| rule | range | κ | keeps | compares with | travels |",
        "|---|---|---:|---|---|---|",
    ]
    for rule in RULES:
        contract = rule.contract
        kept = {
            "T": contract.translation_equivariant,
            "S": contract.scale_equivariant,
            "H": contract.in_hull,
            "O": contract.symmetric,
        }
        letters = "".join(letter for letter, is_kept in kept.items() if is_kept)
        limit = contract.limit if contract.num_byzantine else "f = 0"
        kappa = contract.robustness(NUM_WORKERS, NUM_BYZANTINE)
        constant = f"{kappa:.3g}" if contract.num_byzantine and kappa < 1e9 else ""
        lines.append(
            f"| {_linked(jd.rules, rule.name)} | {limit} | {constant} | {letters} "
            f"| {_anchor(rule)} | {_cost(rule)} |"
        )
    return "\n".join(lines) + "\n"


def _linked(family: types.ModuleType, name: str) -> str:
    """Return a name that leads to the page of the function that it begins with."""
    function = name.split("(")[0]
    if not hasattr(family, function):
        return f"`{name}`"
    return f"{{py:func}}`{name} <{family.__name__}.{function}>`"


def _marks(*facts: bool) -> str:
    """Return the cells of what is true or not."""
    return " | ".join("yes" if fact else "" for fact in facts)


def _anchor(rule: jd.AggregationRule) -> str:
    """Return the point that a rule compares the workers with."""
    known = {"previous": "its last result", "reference": "a reference gradient"}
    if isinstance(rule.anchor, str):
        return known[rule.anchor]
    return "their median" if rule.anchor else ""


def _cost(rule: jd.AggregationRule) -> str:
    """Return how a gradient travels, and what is summed in addition."""
    tx = jd.aggregate("data", rule)
    gradient = jnp.zeros(SIZE)
    extra = {"reference": gradient} if rule.anchor == "reference" else {}
    whole, *sums = jd.communication_report(tx, gradient, NUM_WORKERS, **extra).shipments
    words = (f"{math.prod(x.shape)} {x.leaf.strip('()')}" for x in sums)
    return ", ".join([whole.route, *words])


def table() -> str:
    """Return the table of compressors in Markdown."""
    lines = [
        "| compressor | unbiased | ω or δ | linear | splits | random | aligned "
        "| bits per element |",
        "|---|---|---|---|---|---|---|---:|",
    ]
    # A square, since low rank needs a matrix.
    leaf = jax.ShapeDtypeStruct((1024, SIZE // 1024), jnp.float32)
    for compressor in ROWS:
        contract = compressor.contract
        marks = _marks(
            contract.linear,
            contract.splittable,
            contract.stochastic,
            contract.aligned,
        )
        bits = 8 * jd.payload_nbytes(compressor, leaf) / SIZE
        name = _linked(jd.compression, compressor.name)
        lines.append(
            f"| {name} | {'yes' if contract.unbiased else ''} "
            f"| {_bound(contract)} | {marks} | {bits:.3g} |"
        )
    return "\n".join(lines) + "\n"


def _bound(contract: jd.Contract) -> str:
    """Return the variance of what is unbiased, else the contraction."""
    if contract.unbiased:
        return f"ω = {contract.variance(SIZE):.3g}"
    return f"δ = {contract.contraction(SIZE):.3g}"


def floors() -> types.ModuleType:
    """Return the module that says which file stands on which floor."""
    path = ROOT / "tests" / "floors.py"
    spec = importlib.util.spec_from_file_location("floors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def floor_table() -> str:
    """Return the table of floors in Markdown."""
    lines = ["| floor | name | what it is |", "|---:|---|---|"]
    for floor, rooms in enumerate(floors().FLOORS):
        for room, meaning in rooms.items():
            is_folder = (ROOT / "jaxdist" / room).is_dir()
            name = f"{room}/" if is_folder else f"{room}.py"
            lines.append(f"| {floor} | `{name}` | {meaning} |")
    return "\n".join(lines) + "\n"


MODULES = ["jaxdist", *(f"jaxdist.{family}" for family in floors().FAMILIES)]
PROTOCOLS = "Protocols"
PROTOCOL_FILES = ("_attack", "_compressor", "_rule")  # each of a family
GROUPS = {  # of the names of the root, in this order
    "aggregation": "Aggregation",
    "compression": "Compression",
    "leader": "Leader",
    "gossip": "Gossip",
    "staleness": "Staleness",
    "attacks": "Attacks",
    "safety": "Safety",
    "layout": "Layout",
    "recipes": "Recipes",
}


def public_names(module_name: str) -> dict[str, object]:
    """Return the public names of a module, as completion shows them, and the values."""
    module = importlib.import_module(module_name)
    found = {
        name: getattr(module, name) for name in dir(module) if not name.startswith("_")
    }
    return {
        name: value
        for name, value in found.items()
        if not isinstance(value, types.ModuleType)
    }


def spellings() -> dict[str, str]:
    """Return the public spelling of each public name, by where it is defined."""
    return {
        f"{value.__module__}.{value.__qualname__}": f"{module}.{name}"
        for module in MODULES
        for name, value in public_names(module).items()
        if hasattr(value, "__qualname__")
    }


def api_page(module_name: str) -> str:
    """Return the page of a module: an overview, then every public name."""
    module = importlib.import_module(module_name)
    lines = [f"# {module_name}", "", inspect.getdoc(module).splitlines()[0], ""]
    lines += ["```{eval-rst}", f".. module:: {module_name}", "```", ""]
    names = public_names(module_name)
    for title, group in _groups(module_name, names).items():
        lines += [f"## {title}", "", *_block(module_name, group, names), ""]
    return "\n".join(lines)


def _groups(module_name, names):
    """Return the headings of a page, and the names under each."""
    functions = [name for name, value in names.items() if _kind(value) == "function"]
    others = [name for name in names if name not in functions]
    if module_name != "jaxdist":
        groups = {"Functions": functions, "Types": others}
    else:
        groups = {title: [] for title in (*GROUPS.values(), PROTOCOLS)}
        for name in functions + others:
            groups.setdefault(_group(names[name]), []).append(name)
    return {title: group for title, group in groups.items() if group}


def _group(value):
    """Return the heading of a name of the root: the folder that it comes from."""
    rooms = value.__module__.split(".")[1:] if _kind(value) != "data" else []
    if len(rooms) < 2 or rooms[-1] in PROTOCOL_FILES:
        return PROTOCOLS
    return GROUPS.get(rooms[0], rooms[0].capitalize())


def _kind(value):
    """Return which directive of autodoc shows a value."""
    if inspect.isclass(value):
        return "class"
    return "function" if inspect.isroutine(value) else "data"


def _block(module_name, group, names):
    """Return a table of a group with links, then each name with its docstring."""
    lines = ["```{eval-rst}", f".. currentmodule:: {module_name}"]
    lines += [".. autosummary::", "   :nosignatures:", ""]
    documented = [name for name in group if _kind(names[name]) != "data"]
    lines += [f"   {name}" for name in documented] + [""]
    for name in group:
        kind = _kind(names[name])
        lines.append(f".. auto{kind}:: {name}")
        if kind == "class":
            methods = _methods(names[name])
            if methods:
                lines.append(f"   :members: {', '.join(methods)}")
            if "__call__" in vars(names[name]):
                lines.append("   :special-members: __call__")
    return [*lines, "```"]


def _methods(value):
    """Return the public methods and properties that a class itself explains."""
    fields = getattr(value, "_fields", getattr(value, "__dataclass_fields__", ()))
    return [
        name
        for name, member in vars(value).items()
        if not name.startswith("_") and name not in fields and _is_explained(member)
    ]


def _is_explained(member):
    """Whether a member is a method or a property with a docstring."""
    kinds = (property, classmethod, staticmethod, types.FunctionType)
    return isinstance(member, kinds) and bool(member.__doc__)


def write(folder: pathlib.Path) -> None:
    """Write the tables and the pages of the API to files."""
    texts = {
        "_contracts.md": table(),
        "_floors.md": floor_table(),
        "_rules.md": rules(),
        **{f"api/{name}.md": api_page(name) for name in MODULES},
    }
    (folder / "api").mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
