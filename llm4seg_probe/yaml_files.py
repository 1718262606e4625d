"""YAML files as plain values, and plain values as validated models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import shown
from llm4seg_probe.reading.text import dump_yaml, parse_yaml_value, read_yaml_values

_SHOWN = 3  # problems that one message names
_FIELD = re.compile(r"[^.\[\]]+(?:\.[^.\[\]]+|\[[^.\[\]]+\])*")

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_yaml(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Contents of a YAML file with ``key=value`` overrides applied, as plain values.

    Only data is read: no tags that build objects, no interpolation. Raises ConfigError.
    """
    path = Path(path)
    for text in overrides:  # told before the file is read
        parse_override(text)
    values = read_yaml_values(path, ConfigError)
    if not isinstance(values, dict):
        held = "a list" if isinstance(values, list) else f"'{shown(str(values))}'"
        raise ConfigError(f"{path} holds {held}; fields such as 'arm: llm' are expected")
    return with_overrides(values, overrides)


def with_overrides(values: dict[str, Any], overrides: tuple[str, ...]) -> dict[str, Any]:
    """The values with ``key=value`` overrides applied. Raises ConfigError for another text."""
    found = deepcopy(values)
    for text in overrides:
        names, value = parse_override(text)
        set_field(found, names, value)
    return found


def parse_override(text: str) -> tuple[list[str], Any]:
    """Names on the way to a field, and its value, of ``a.b[0]=value``."""
    field, equals, value = text.partition("=")
    if not equals or not field:
        raise ConfigError(f"'{text}' is not an override: write key=value, such as seed=3")
    if not _FIELD.fullmatch(field):
        raise ConfigError(
            f"'{text}' is not an override: '{field}' is no name of a field; write one dot between "
            "names and an entry's number in brackets, such as training.epochs=3 or a.b[0]=1"
        )
    names = re.findall(r"[^.\[\]]+", field)
    return names, parse_yaml_value(value, f"'{text}'", ConfigError)


def set_field(values: Any, names: Sequence[str], value: Any) -> None:
    """Set a field by the names on the way to it; an entry of a list by its number."""
    for name in names[:-1]:
        here = values[_place(values, name, names)] if _is_there(values, name) else None
        if not isinstance(here, dict | list):
            here = {}
            values[_place(values, name, names)] = here
        values = here
    values[_place(values, names[-1], names)] = value


def _is_there(values: Any, name: str) -> bool:
    return isinstance(values, list) or name in values


def _place(values: Any, name: str, names: Sequence[str]) -> Any:
    if not isinstance(values, list):
        return name
    if not name.isdecimal() or int(name) >= len(values):
        raise ConfigError(
            f"the override of {'.'.join(names)}: '{name}' is no entry of a list of {len(values)}, "
            "which are counted from 0"
        )
    return int(name)


def on_top(beneath: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values of both, nested ones too; where both give one, that of ``values``."""
    merged = dict(beneath)
    for key, value in values.items():
        under = merged.get(key)
        both = isinstance(under, dict) and isinstance(value, dict)
        merged[key] = on_top(under, value) if both else value  # type: ignore[arg-type]
    return merged


def validated(values: dict[str, Any], model: type[ModelT], where: str) -> ModelT:
    """Build a model from plain values, or raise ConfigError in one line per field."""
    try:
        return model(**values)
    except ValidationError as error:
        problems = [_sentence(problem, model) for problem in error.errors()]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(f"{where}: {'; '.join(problems[:_SHOWN])}{more}") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{where}: {reason(error)}") from error


def to_yaml(config: BaseModel) -> str:
    """The complete configuration as YAML, every default written out."""
    return dump_yaml(config.model_dump(mode="json"))


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    # Parts in brackets say which of several types was tried.
    parts = tuple(part for part in problem["loc"] if "[" not in str(part))
    place = ".".join(map(str, parts))
    if problem["type"] == "extra_forbidden":
        parent = _model_at(model, parts[:-1])
        valid = list(parent.model_fields) if parent else []
        return f"{place}: {unknown('field', shown(str(problem['loc'][-1])), valid)}"
    if problem["type"] == "literal_error":
        valid = [
            part.strip(" '") for part in problem["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        return f"{place}: {unknown('value', shown(str(problem['input'])), valid)}"
    message = problem["msg"].removeprefix("Value error, ")
    seen = problem["input"]
    told = f" (it is {_echo(seen)})" if isinstance(seen, str | int | float | None) else ""
    return f"{place}: {message}{told}" if place else message


def _echo(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**40:  # Python itself refuses to print some
        return "a number of more than 40 digits"
    return shown(repr(value))


def _model_at(model: type[BaseModel], place: tuple[Any, ...]) -> type[BaseModel] | None:
    for part in place:
        if isinstance(part, int):
            continue  # an entry of a list of models, which is found below
        field = model.model_fields.get(str(part))
        inner = _models_in(field.annotation) if field else []
        if not inner:
            return None
        model = inner[0]
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
