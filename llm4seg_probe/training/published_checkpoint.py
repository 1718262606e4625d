"""Convert checkpoints of the reference implementation into runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from llm4seg_probe.arms import ArmName
from llm4seg_probe.config import Config
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import CheckpointError, ConfigError, UserError, unknown
from llm4seg_probe.models.network import parameter_groups
from llm4seg_probe.models.reference import from_reference
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.stored_run import run_content

PUBLISHED_ARMS: tuple[ArmName, ...] = (
    "cnn",
    "llm",
    "llm-trainable",
    "transformer",
    "random-frozen",
)
"""Conditions that the published code can train; it names none of them in its checkpoints."""

_WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint: its path, configuration and numbers of parameters."""

    path: Path
    config: Config
    parameters: int
    trainable: int


def convert_checkpoint(reference: Path, out: Path, arm: str | None = None) -> Converted:
    """Write a checkpoint of the published code as a ``run.pt``, its layer's weights inside.

    The file holds the state dict, alone or as ``state_dict`` or ``model`` in a dictionary, with
    or without ``module.`` before its names. ``arm`` is what it does not say; by default ``cnn``
    without a decoder layer and ``llm`` with one.

    Raises CheckpointError for a file that is none, ConfigError for an arm that cannot be.
    """
    reference, out = Path(reference), Path(out)
    if arm is not None and arm not in PUBLISHED_ARMS:
        raise ConfigError(unknown("arm of the published code", arm, PUBLISHED_ARMS))
    if out.exists():
        raise CheckpointError(f"{out} exists already: name a new file")
    state = reference_state(reference)
    try:
        config, network = from_reference(state, arm)
    except UserError as error:
        raise CheckpointError(f"{reference}: {error}") from error
    content = run_content(
        network,
        config,
        name=reference.stem,
        dataset=config.data.name,
        split=_unknown_split(config),
        epoch=None,
        val_iou=None,
        embed_layer=True,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(content, out)
    trained = sum(p.numel() for group in parameter_groups(network).values() for p in group)
    total = sum(parameter.numel() for parameter in network.parameters())
    return Converted(out, config, total, trained)


def reference_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint of the published code, whatever it is wrapped in.

    Raises CheckpointError when it is a run of ours already, or holds anything but tensors.
    """
    content: Mapping[Any, Any] = checkpoint.read(path)
    if content.get("format") == checkpoint.FORMAT:
        raise CheckpointError(f"{path} is a run of llm4seg-probe already: probe it as it is")
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange or not content:
        holds = f"'{strange[0]}' is no tensor" if strange else "it is empty"
        raise CheckpointError(
            f"{path} holds no state dict: {holds}. Expected are names with tensors, alone or under "
            f"{' or '.join(map(repr, _WRAPPERS))}"
        )
    return {str(name): value for name, value in content.items()}


def _unknown_split(config: Config) -> Split:
    """No images on any side: the checkpoint does not say; as published, validation is test."""
    return Split(
        name=config.data.split,
        dataset=config.data.name,
        dataset_fingerprint="",
        seed=config.data.split_seed,
        within_case=False,
        validation_is_test=True,
        train=(),
        val=(),
        test=(),
    )
