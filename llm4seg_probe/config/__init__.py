"""The configuration of a run: every choice that can change a number is a field here.

A run folder's ``config.yaml`` writes every field out, defaults included. Fields named
``reference`` reproduce what the published code of LLM4Seg (MICCAI 2025) does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from llm4seg_probe.arms import ArmName
from llm4seg_probe.config.architecture import BackboneConfig as BackboneConfig
from llm4seg_probe.config.architecture import BoosterConfig as BoosterConfig
from llm4seg_probe.config.architecture import refuse_misfits as refuse_misfits
from llm4seg_probe.config.data import Amount as Amount
from llm4seg_probe.config.data import AugmentationName as AugmentationName
from llm4seg_probe.config.data import Augmentations as Augmentations
from llm4seg_probe.config.data import DataConfig as DataConfig
from llm4seg_probe.config.data import Transform as Transform
from llm4seg_probe.config.section import Section as Section
from llm4seg_probe.config.training import ComputeConfig as ComputeConfig
from llm4seg_probe.config.training import EvaluationConfig as EvaluationConfig
from llm4seg_probe.config.training import OptimiserConfig as OptimiserConfig
from llm4seg_probe.config.training import TrainingConfig as TrainingConfig
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.presets import preset_path
from llm4seg_probe.tasks import TASKS, TaskName, misfit
from llm4seg_probe.yaml_files import on_top
from llm4seg_probe.yaml_files import read_yaml as read_yaml
from llm4seg_probe.yaml_files import to_yaml as to_yaml
from llm4seg_probe.yaml_files import validated as validated

_Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Config(Section):
    """One run: one arm, one seed, one data set, one task."""

    task: TaskName = Field(
        "segmentation",
        description="'segmentation': which pixels are of each class; 'classification': which "
        "classes the image has, by the same encoder and a pooled linear head, without a decoder; "
        "'detection': where the objects of each class have their centres",
    )
    arm: ArmName = Field("llm", description="a name of `llm4seg-probe list arms`")
    seed: _Seed = Field(0, description="of initial weights, batches and augmentation")
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    booster: BoosterConfig = BoosterConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="before")
    @classmethod
    def _loss_of_the_task(cls, values: Any) -> Any:
        """Leave Dice, on unless it is set, out of the loss of a task that has no overlap."""
        task = TASKS.get(str(values.get("task"))) if isinstance(values, dict) else None
        if task is None or task.overlap:
            return values
        given = values.get("training") or {}
        if isinstance(given, TrainingConfig):
            given = given.model_dump(exclude_unset=True)
        if not isinstance(given, dict):
            return values
        return {**values, "training": {"dice_weight": 0.0, **given}}

    @model_validator(mode="after")
    def _of_the_task(self) -> Self:
        said = misfit(
            TASKS[self.task],
            overlap=self.training.dice_weight + self.training.tversky_weight,
            output=self.training.output,
            sampling=self.data.sampling,
            deep_supervision=self.backbone.deep_supervision,
            nnunet=self.data.nnunet is not None,
            label_noise=self.data.label_noise,
        )
        if said:
            raise ValueError(said)
        return self

    @model_validator(mode="after")
    def _booster_of_the_arm(self) -> Self:
        try:
            refuse_misfits(self.arm, self.booster)
        except ConfigError as error:
            raise ValueError(f"booster.{error}") from error
        return self

    @model_validator(mode="after")
    def _threshold_of_what_decides(self) -> Self:
        if self.training.output == "softmax" and self.evaluation.threshold != 0.5:
            raise ValueError(
                f"evaluation.threshold is {self.evaluation.threshold:g}, but training.output is "
                "'softmax', where the most probable class wins: leave it at 0.5"
            )
        return self

    @model_validator(mode="after")
    def _images_for_every_process(self) -> Self:
        if self.training.batch_size < self.compute.processes:
            raise ValueError(
                f"training.batch_size is {self.training.batch_size} for "
                f"{self.compute.processes} processes (compute.devices on compute.nodes), which "
                "share each batch: give at least one image for each"
            )
        return self


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a run's YAML file, apply ``key=value`` overrides, and validate.

    With ``preset: NAME`` the fields of that preset count wherever the file, or an override, does
    not give them. Raises ConfigError for a file without any field, and else one that names the
    file, the field, and the nearest valid name.
    """
    values = read_yaml(path, overrides)
    if not read_yaml(path):
        raise ConfigError(
            f"{path}: gives no field, so every one would have its default: write one into it, "
            "such as 'arm: llm'"
        )
    if "preset" in values:
        try:
            beneath = read_yaml(preset_path(str(values.pop("preset"))))
        except ConfigError as error:
            raise ConfigError(f"{path}: preset: {error}") from error
        values = on_top(beneath, values)
    return validated(values, Config, str(path))
