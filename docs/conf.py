"""Settings of the documentation: ``sphinx-build -W docs build/site``."""

import os
import warnings

# Read when the kernels are loaded: small models gain nothing from a second thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
from sklearn.exceptions import ConvergenceWarning

import fastar

matplotlib.use("Agg")
# The examples of the gallery stop where their pictures are good enough.
warnings.filterwarnings("ignore", category=ConvergenceWarning)

project = "fastar"
author = "The fastar developers"
copyright = "The fastar developers"
version = release = fastar.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
smartquotes = False
default_role = "py:obj"
exclude_patterns = ["examples", "_templates"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "fastar"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["fastar.css"]
html_theme_options = {
    "show_prev_next": False,
    "navigation_depth": 2,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "changelog": [], "start": []}

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = ">>> |\\.\\.\\. "
copybutton_prompt_is_regexp = True

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "capture_repr": (),
    "copyfile_regex": "",
    "download_all_examples": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}


def is_foreign(app, what, name, member, skip, options):
    """Leave out what classes inherit from other libraries."""
    module = getattr(getattr(member, "fget", member), "__module__", None)
    return skip or not (module or "fastar").startswith("fastar")


def without_blank_ends(app, page, source):
    """Drop the blank line after an example, which doctest wants before the fence."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app):
    """Register the events."""
    app.connect("autodoc-skip-member", is_foreign)
    app.connect("source-read", without_blank_ends)
