"""Sphinx settings; warnings are errors (`make docs`)."""

import jaxdist

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
exclude_patterns = ["_build"]
add_module_names = False
autodoc_typehints = "none"
napoleon_custom_sections = ["Communication", "Shapes", "References"]
nitpicky = False
