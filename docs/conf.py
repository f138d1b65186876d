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
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "sphinx_book_theme"
html_title = "jaxdist"
html_static_path = ["_static"]
exclude_patterns = ["_build", "_byzantine.md", "_contracts.md", "_rules.md"]
add_module_names = False
autodoc_typehints = "none"
napoleon_custom_sections = ["Communication", "Shapes", "References"]
nitpicky = False


def setup(app):
    """Write the tables of contracts before any page is read."""
    import contracts

    contracts.write(pathlib.Path(app.srcdir))
