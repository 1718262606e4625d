"""Parts of all pages: templates, style sheet, scripts, and the security policy."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from llm4seg_probe.drawing.figure_files import colour_variables


@cache
def _environment() -> Environment:
    """Where templates are compiled, once for all pages of a process."""
    return Environment(
        loader=PackageLoader("llm4seg_probe.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template(name: str) -> Template:
    """One of the package's templates; a name that a page forgets to give is an error."""
    return _environment().get_template(name)


def asset(name: str) -> Markup:
    """One of the package's own style sheets or scripts, as it stands."""
    folder = files("llm4seg_probe.report") / "templates"
    return Markup((folder / name).read_text(encoding="utf-8"))


def style_sheet() -> Markup:
    """The style sheet of every page, with the arms' colours on light and dark."""
    light, dark = colour_variables()
    sheet = str(asset("page.css"))
    return Markup(sheet.replace("/* light arms */", light).replace("/* dark arms */", dark))


def policy(scripts: Sequence[str], images: str = "'self' data:") -> str:
    """Content security policy of a page: nothing is loaded or run but what it names."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    ]
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(hashes)}" if hashes else "script-src 'none'",
            "style-src 'unsafe-inline'",
            f"img-src {images}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
