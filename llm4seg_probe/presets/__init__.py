"""Presets: recipes as YAML files beside this one, which a configuration begins with.

``preset: NAME`` in a run's YAML file puts the file's own fields on top of those of the preset.
"""

from __future__ import annotations

from pathlib import Path

from llm4seg_probe.errors import ConfigError, unknown

_FOLDER = Path(__file__).parent


def preset_path(name: str) -> Path:
    """The YAML file of a preset. Raises ConfigError that names those there are."""
    names = list(presets())
    if name not in names:
        raise ConfigError(unknown("preset", name, names))
    return _FOLDER / f"{name}.yaml"


def presets() -> dict[str, str]:
    """Names of the presets, each with the line of description that its file begins with."""
    return {path.stem: _first_line(path) for path in sorted(_FOLDER.glob("*.yaml"))}


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8") as stream:
        return stream.readline().removeprefix("#").strip()
