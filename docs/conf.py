"""Sphinx settings; warnings are errors (`make docs`)."""

import pathlib
import sys

import jaxdist

sys.path.insert(0, str(pathlib.Path(__file__).parent))

project = "jaxdist"
author = "The jaxdist authors"
release = jaxdist.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "sphinx_book_theme"
html_title = "jaxdist"
html_static_path = ["_static"]
exclude_patterns = [
    *(
        "_build",
        "_byzantine.md",
        "_contracts.md",
        "_floors.md",
        "_optimizers.md",
        "_optimizers_attacked.md",
        "_rules.md",
    ),
]
add_module_names = False
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autosummary_generate = False
napoleon_custom_sections = ["Communication", "Shapes", "References"]
nitpick_ignore_regex = [
    ("py:class", r"(collections|hypothesis|jax|numpy|optax)\..*"),
    (
        "py:class",
        r"jaxdist\..*_\w+\.(Contributions|Init|JittedStep|Message|Shipment|Step|Stream)",
    ),
    ("py:class", r"jaxdist\..*_\w+\.(Arrivals|AsyncInit|AsyncStep|Rounds)"),
    ("py:class", r"jaxdist\..*_\w+\.(PaceState|Race|Walked)"),
]
nitpicky = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88


def setup(app):
    """Write the tables and the pages of the API before any page is read."""
    import tables

    tables.write(pathlib.Path(app.srcdir))
    spellings = tables.spellings()

    def resolve(app, env, node, contnode):
        """Point a type in a signature, which has a private path, to its public name."""
        target = spellings.get(node.get("reftarget"))
        if target is None or node.get("refdomain") != "py":
            return None
        place = node.get("refdoc", env.docname)
        return env.get_domain("py").resolve_xref(
            env, place, app.builder, "obj", target, node, contnode
        )

    app.connect("missing-reference", resolve)
