"""Make a checkpoint of nnU-Net's into a run that every probe opens."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from llm4seg_probe.arms import ARMS, ArmName
from llm4seg_probe.config import Config, validated
from llm4seg_probe.data.nnunet_cases import Cases, cases_in, labelling_of, names_of
from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import CheckpointError, ConfigError, DataError, UserError
from llm4seg_probe.integrations.nnunet.checkpoints import NnunetCheckpoint, read_nnunet
from llm4seg_probe.integrations.nnunet.installation import require
from llm4seg_probe.integrations.nnunet.names import is_ours, trainer_name
from llm4seg_probe.integrations.nnunet.network import from_source, hollow
from llm4seg_probe.integrations.nnunet.sealing import SEAL_KEY, Identity, Keeper, Sealed
from llm4seg_probe.llm.stored_weights import LayerIdentity
from llm4seg_probe.models.network import build_network, parameter_groups
from llm4seg_probe.models.nnunet_plans import PREPROCESSED, section_of
from llm4seg_probe.reading.text import read_json
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.stored_run import run_content


@dataclass(frozen=True)
class ConvertedNnunet:
    """Say what a checkpoint turned out to be, where the run lies, and which images it knows."""

    path: Path
    config: Config
    parameters: int
    trainable: int
    said: tuple[str, ...]


def convert_nnunet(path: Path, out: Path, arm: str | None = None) -> ConvertedNnunet:
    """Write a checkpoint of nnU-Net's as a ``run.pt``, its layer's weights inside.

    Arm and seed are those of the seal and of the trainer's name; the checkpoint of any other
    trainer is arm ``cnn``, seed 0. The validation cases of the fold are the split's ``val`` and
    ``test``. Raises CheckpointError, ConfigError.
    """
    require()
    if out.exists():
        raise CheckpointError(f"{out} exists already: name a new file")
    found = read_nnunet(path)
    said: list[str] = []
    identity = _identity(found, said)
    if arm is not None and arm != identity.arm:
        raise ConfigError(f"--arm is {arm}, but {path} says that it is {identity.arm}")
    try:
        config = _config(found, identity)
        network = _network(found, config, identity)
    except UserError as error:
        raise CheckpointError(f"{path}: {error}") from error
    config, split = _with_data(found, config, said)
    content = run_content(
        network,
        config,
        name=f"{found.trainer}-{found.configuration}-fold_{found.fold}",
        dataset=str(found.plans.get("dataset_name", "")),
        split=split,
        epoch=found.epoch,
        val_iou=None,
        embed_layer=True,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(content, out)
    trained = sum(p.numel() for group in parameter_groups(network).values() for p in group)
    total = sum(parameter.numel() for parameter in network.parameters())
    return ConvertedNnunet(out, config, total, trained, tuple(said))


def _identity(found: NnunetCheckpoint, said: list[str]) -> Identity:
    """Name whose weights they are: as sealed, else as the trainer's name says."""
    seal = found.weights.get(SEAL_KEY)
    if seal is not None:
        return Sealed.from_tensor(seal).identity
    if is_ours(found.trainer):
        name = trainer_name(found.trainer)
        if ARMS[name.arm].middle != "nothing":
            raise CheckpointError(
                f"{found.path}: the trainer {found.trainer} is of arm {name.arm}, but the weights "
                "are of a network without a booster"
            )
        return Identity(name.arm, name.seed, {})
    said.append(f"{found.trainer} says no seed: the run has seed 0.")
    return Identity("cnn", 0, {})


def _config(found: NnunetCheckpoint, identity: Identity) -> Config:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(json.loads(json.dumps(found.plans)))  # which it would change
    planned = plans.get_configuration(found.configuration)
    if planned.previous_stage_name is not None:
        raise ConfigError(
            f"{found.configuration} refines what {planned.previous_stage_name} has predicted, "
            "which no probe can give it: convert a checkpoint of another configuration"
        )
    labelling = labelling_of(found.dataset)
    booster: Mapping[str, Any] = {}
    if ARMS[identity.arm].middle != "nothing":
        booster = section_of(found.plans).booster.model_dump()
    channels = found.dataset.get("channel_names", found.dataset.get("modality", {}))
    values = {
        "arm": identity.arm,
        "seed": identity.seed,
        "data": {
            "name": str(plans.dataset_name),
            "split": f"fold_{found.fold}",
            "image_size": tuple(planned.patch_size),
            "sampling": "patches",
            "channels": len(channels),
            "classes": labelling.classes,
            "normalisation": "nnunet",
            "augmentation": "none",
            "nnunet": {
                "plans": json.loads(json.dumps(found.plans)),
                "configuration": found.configuration,
                "data_identifier": planned.data_identifier,
                "spacing": list(planned.spacing),
                "dataset": dict(found.dataset),
            },
        },
        "backbone": {
            "name": "nnunet",
            "options": {
                "network_class_name": planned.network_arch_class_name,
                "arch_kwargs": dict(planned.network_arch_init_kwargs),
                "_kw_requires_import": list(planned.network_arch_init_kwargs_req_import),
            },
        },
        "booster": booster,
        "training": {
            "epochs": max(1, found.epoch),
            "batch_size": planned.batch_size,
            "output": labelling.output,
        },
        "compute": {"memory_format": "contiguous"},
    }
    return validated(values, Config, str(found.path))


def _network(found: NnunetCheckpoint, config: Config, identity: Identity) -> nn.Module:
    """Build the trained network, its layer's identity as it was sealed."""
    arm: ArmName = config.arm
    if ARMS[arm].middle == "nothing":
        network = build_network(config)
        _load(network, found.weights, found.trainer)
        return network
    section = section_of(found.plans)
    decoder = load = None
    if ARMS[arm].middle == "layer":
        decoder = hollow(section, arm)

        def load() -> Any:
            return from_source(section, arm, identity.seed)

    network = build_network(config, decoder)
    options = section.booster.model_dump(mode="json")
    keeper = Keeper(
        network, Identity(arm, identity.seed, options), load=load, store_layer=section.store_layer
    )
    _load(network, found.weights, found.trainer)
    if decoder is not None and keeper.seal.layer is not None:
        decoder.identity = LayerIdentity.from_dict(keeper.seal.layer)
    keeper.detach()
    return network


def _load(network: nn.Module, weights: Mapping[str, Tensor], trainer: str) -> None:
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        first = next(iter(str(error).splitlines()[1:]), str(error)).strip()
        raise CheckpointError(
            f"the weights are not those of the network in the plans, so {trainer} trained another "
            f"one: {first[:200]}"
        ) from error


def _with_data(found: NnunetCheckpoint, config: Config, said: list[str]) -> tuple[Config, Split]:
    """Add the place of the images, and give the fold as a split, where they are known."""
    name = config.data.name
    try:
        folder, cases = _cases(name, config)
        train, validation = _fold(found, folder, cases)
    except DataError as error:
        said.append(f"It does not know its images here ({error}): add --data FOLDER to probe it.")
        return config, _split(config, (), ())
    axes = len(config.data.image_size)
    split = _split(config, names_of(cases, train, axes), names_of(cases, validation, axes))
    said.append(
        f"Its images: {folder}, {len(train)} cases to train, {len(validation)} to validate"
        f"{f', {len(split.val)} slices of these' if axes == 2 else ''}."
    )
    if found.fold == "all":
        said.append("With fold all it was trained on every case, those of validation too.")
    data = config.data.model_copy(update={"name": str(folder)})
    return config.model_copy(update={"data": data}), split


def _cases(name: str, config: Config) -> tuple[Path, Cases]:
    assert config.data.nnunet is not None
    given = config.data.nnunet
    reasons = []
    for variable in (PREPROCESSED, "nnUNet_raw"):
        root = os.environ.get(variable)
        if not root:
            reasons.append(f"{variable} is not set")
            continue
        folder = Path(root).expanduser().resolve() / name
        try:
            return folder, cases_in(
                folder, given["plans"], given["configuration"], given["data_identifier"]
            )
        except DataError:
            reasons.append(f"{folder} has none")
    raise DataError(", ".join(reasons))


def _fold(
    found: NnunetCheckpoint, folder: Path, cases: Cases
) -> tuple[Sequence[str], Sequence[str]]:
    """Name the cases on which the checkpoint's fold was trained and validated."""
    there = cases.names()
    if found.fold == "all":
        return there, there
    splits = _splits_file(folder)
    if splits is not None:
        folds = read_json(splits, DataError)
        if int(found.fold) < len(folds):
            fold = folds[int(found.fold)]
            return sorted(fold["train"]), sorted(fold["val"])
    validated_cases = sorted(
        {file.name.split(".")[0] for file in (found.path.parent / "validation").glob("*")}
        & set(there)
    )
    if not validated_cases:
        raise DataError(
            f"neither splits_final.json nor a folder validation beside it says which cases fold "
            f"{found.fold} left out"
        )
    return [case for case in there if case not in validated_cases], validated_cases


def _splits_file(folder: Path) -> Path | None:
    places = [folder]
    root = os.environ.get(PREPROCESSED)
    if root:
        places.append(Path(root).expanduser() / folder.name)
    files = (place / "splits_final.json" for place in places)
    return next((file for file in files if file.is_file()), None)


def _split(config: Config, train: Sequence[str], validation: Sequence[str]) -> Split:
    return Split(
        name=config.data.split,
        dataset=config.data.name,
        dataset_fingerprint="",
        seed=0,
        within_case=config.data.split == "fold_all",
        validation_is_test=True,
        train=tuple(train),
        val=tuple(validation),
        test=tuple(validation),
    )
