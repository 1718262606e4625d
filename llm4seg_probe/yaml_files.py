"""YAML files as plain values, and plain values as validated models."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from llm4seg_probe.errors import ConfigError, unknown

_SHOWN = 3  # problems that one message names

ModelT = TypeVar("ModelT", bound=BaseModel)


def read_yaml(path: Path, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Contents of a YAML file with ``key=value`` overrides applied, as plain values.

    Only data is read: no tags that build objects, no interpolation. Raises ConfigError.
    """
    path = Path(path)
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"'{override}' is not an override: write key=value, such as seed=3")
    try:
        tree = OmegaConf.load(path)
        if not isinstance(tree, DictConfig):
            raise ConfigError(f"{path} holds a list; fields such as 'arm: llm' are expected")
        tree.merge_with_dotlist(list(overrides))
        values = OmegaConf.to_container(tree, resolve=False)
    except FileNotFoundError as error:
        raise ConfigError(f"no such file: {path}") from error
    except (OSError, ValueError, TypeError, YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a readable configuration: {reason}") from error
    return dict(values)  # type: ignore[arg-type]


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
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from error


def to_yaml(config: BaseModel) -> str:
    """The complete configuration as YAML, every default written out."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    # Parts in brackets say which of several types was tried.
    parts = tuple(part for part in problem["loc"] if "[" not in str(part))
    place = ".".join(map(str, parts))
    if problem["type"] == "extra_forbidden":
        parent = _model_at(model, parts[:-1])
        valid = list(parent.model_fields) if parent else []
        return f"{place}: {unknown('field', str(problem['loc'][-1]), valid)}"
    if problem["type"] == "literal_error":
        valid = [
            part.strip(" '") for part in problem["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        return f"{place}: {unknown('value', str(problem['input']), valid)}"
    message = problem["msg"].removeprefix("Value error, ")
    seen = problem["input"]
    shown = f" (it is {seen!r})" if isinstance(seen, str | int | float | None) else ""
    return f"{place}: {message}{shown}" if place else message


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
