"""The light dependencies of the package, each at the lowest version that pyproject.toml allows.

``pip install $(python .ci/lowest.py)`` installs them, with what the tests of reading and statistics
need; the heavy ones (torch and what builds on it) are left out.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

LIGHT = (
    *("numpy", "scipy", "pandas", "matplotlib", "jinja2", "pydantic", "PyYAML"),
    *("typer", "rich", "nibabel", "pynrrd", "pydicom", "SimpleITK", "pillow", "filelock"),
    "packaging",
)
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "statsmodels", "omegaconf")


def lowest(requirement: str) -> tuple[str, str]:
    """Name and lowest version of ``name>=version``."""
    found = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"pyproject.toml: '{requirement}' states no lowest version")
    return found[1], found[2]


def main() -> None:
    """Print what pip is to install."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(lowest(text) for text in project["dependencies"])
    print(*(f"{name}=={bounds[name]}" for name in LIGHT), *TOOLS)


if __name__ == "__main__":
    main()
