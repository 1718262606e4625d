"""Write and read arm and seed in a trainer's name, which nnU-Net keeps with its results.

``nnUNetTrainer_LLM4Seg_randomfrozen_s3`` is arm ``random-frozen`` with seed 3 on top of
``nnUNetTrainer``. An arm stands without its hyphens, and between the parts is one underscore:
nnU-Net takes its folder names apart at two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from llm4seg_probe.arms import ARMS
from llm4seg_probe.errors import ConfigError, unknown

INFIX = "_LLM4Seg"
PLAIN = "nnUNetTrainer"
"""nnU-Net's own trainer, before which ours stand unless another one is named."""

_ARMS = {arm.replace("-", ""): arm for arm in ARMS}
_NAME = re.compile(r"(?P<base>[A-Za-z]\w*?)_LLM4Seg_(?P<arm>[a-z0-9]+)_s(?P<seed>0|[1-9]\d*)")
_FOLDER = re.compile(r"(?P<trainer>.+?)__(?P<plans>.+?)__(?P<configuration>.+)")


@dataclass(frozen=True)
class TrainerName:
    """Hold what a trainer's name says.

    >>> str(TrainerName("random-frozen", 3))
    'nnUNetTrainer_LLM4Seg_randomfrozen_s3'
    """

    arm: str
    seed: int
    base: str = PLAIN

    def __str__(self) -> str:
        return f"{self.base}{INFIX}_{self.arm.replace('-', '')}_s{self.seed}"


def is_ours(name: str) -> bool:
    """Tell whether a trainer's name is meant to be one of ours, right or wrong."""
    return INFIX in name


def trainer_name(name: str) -> TrainerName:
    """Read arm, seed and base in a trainer's name.

    Raises ConfigError where it is none, with the way it would be written.

    >>> trainer_name("nnUNetTrainer_LLM4Seg_llm_s0")
    TrainerName(arm='llm', seed=0, base='nnUNetTrainer')
    """
    found = _NAME.fullmatch(name)
    if found is None or "__" in name:
        raise ConfigError(f"{name} is no trainer of LLM4Seg: {_reason(name)}")
    if found["arm"] not in _ARMS:
        raise ConfigError(f"{name}: {unknown('arm', found['arm'], _ARMS)}")
    return TrainerName(_ARMS[found["arm"]], int(found["seed"]), found["base"])


def _reason(name: str) -> str:
    like = "write BASE_LLM4Seg_ARM_sSEED, such as nnUNetTrainer_LLM4Seg_randomfrozen_s3"
    if "__" in name:
        return f"nnU-Net takes its folders' names apart at two underscores; {like}"
    if "-" in name:
        return f"an arm stands without its hyphens; {like}"
    if not re.search(r"_s\d+$", name):
        return f"it ends in no seed; {like}"
    if re.search(r"_s0\d+$", name):
        return f"a seed has no leading zeros; {like}"
    return like


def folder_name(name: str) -> tuple[str, str, str] | None:
    """Read trainer, plans and configuration in the name of a folder of results, None if none.

    >>> folder_name("nnUNetTrainer__nnUNetPlans__3d_fullres")
    ('nnUNetTrainer', 'nnUNetPlans', '3d_fullres')
    """
    found = _FOLDER.fullmatch(name)
    return (found["trainer"], found["plans"], found["configuration"]) if found else None
