"""Fields of an analysis that are set on the command line, at whatever size it is run."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.reading.names import shown
from llm4seg_probe.yaml_files import parse_override, set_field, with_overrides


def with_fields(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The values of an analysis with ``key=value`` overrides applied.

    What is asked for goes before what a size of the analysis says. Raises ConfigError for a text
    that is no override, and for a field of the base that a factor varies, since each run would
    take the factor's level.
    """
    found = deepcopy(values)
    for text in overrides:
        section, names, value = _parts(text)
        if section == "base":
            _refuse_a_factor(found, ".".join(names), value, text)
            _set(found, section, names, value)
            for size in _sizes(found):
                if _sets(size.get("factors"), [".".join(names)]):
                    size["factors"] = {**size["factors"], ".".join(names): [value]}
        elif section == "factors":  # a factor goes by the whole name of its field
            _set(found, section, [".".join(names)], value)
        else:
            found = with_overrides(found, (text,))
    return found


def _parts(text: str) -> tuple[str, list[str], Any]:
    """Section, further names and value; for an entry of a list the section is left empty."""
    names, value = parse_override(text)
    listed = "[" in text.partition("=")[0]
    return ("" if listed or len(names) < 2 else names[0]), names[1:], value


def _sizes(values: dict[str, Any]) -> list[dict[str, Any]]:
    sizes = values.get("sizes")
    found = sizes.values() if isinstance(sizes, dict) else ()
    return [size for size in found if isinstance(size, dict)]


def _refuse_a_factor(values: dict[str, Any], field: str, value: Any, text: str) -> None:
    factors = values.get("factors")
    if isinstance(factors, dict) and field in factors:
        raise ConfigError(
            f"'{shown(text)}': {field} is a factor here, whose levels each run takes; set "
            f"factors.{field}=[{shown(str(value))}]"
        )


def _set(values: dict[str, Any], section: str, names: Sequence[str], value: Any) -> None:
    """Set a field, and in each size that sets it too."""
    for scope in (values, *(size for size in _sizes(values) if _sets(size.get(section), names))):
        scope[section] = scope.get(section) or {}
        set_field(scope[section], names, value)


def _sets(values: Any, names: Sequence[str]) -> bool:
    for name in names:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True
