"""Documentation of llm4seg-probe: `make docs` builds it offline, warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated  # pages that are written from the code itself

from llm4seg_probe import __version__

project = "llm4seg-probe"
author = "the developers of llm4seg-probe"
release = __version__
extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
html_theme = "furo"
html_title = "llm4seg-probe"
exclude_patterns = ["_build"]
nb_execution_mode = "off"
autosummary_generate = True
numpydoc_show_class_members = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"] if "linkcheck" in sys.argv else []

generated.write(Path(__file__).parent)
