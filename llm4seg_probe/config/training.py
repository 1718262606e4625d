"""Fields of a configuration that train a network, score it, and say on what it computes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator

from llm4seg_probe.config.section import Section
from llm4seg_probe.reading.bounds import at_most

_Processes = Annotated[int, AfterValidator(lambda value: at_most("threads", value))]
_Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?|mps)$")]
_ACCELERATORS = {"gpu": "cuda"}  # words of the field's former name, where they were others


def _steps(value: Any) -> Any:
    """A number of steps, the word for as many as all images make, or None."""
    if value is None or value == "full" or (type(value) is int and 1 <= value < 2**31):
        return value
    raise ValueError("give a number of steps of at least 1, full, or null")


_Steps = Annotated[int | Literal["full"] | None, BeforeValidator(_steps)]


class OptimiserConfig(Section):
    """How weights move. A rate of null means that of the CNN."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(4e-3, gt=0, description="peak learning rate of the CNN")
    adapters_lr: float | None = Field(None, gt=0, description="of the two linear adapters")
    layer_lr: float | None = Field(None, gt=0, description="of a decoder layer that is trained")
    gates_lr: float | None = Field(
        None, gt=0, description="of a mixture's weights and of a gate, which have no weight decay"
    )
    weight_decay: float = Field(1e-4, ge=0, description="of the CNN")
    adapters_weight_decay: float | None = Field(None, ge=0)
    layer_weight_decay: float | None = Field(None, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; AdamW has its own")
    nesterov: bool = Field(False, description="Nesterov's momentum, in SGD")
    schedule: Literal["one-cycle", "polynomial", "cosine", "constant"] = "one-cycle"
    power: float = Field(0.9, gt=0, description="exponent of the polynomial schedule")
    warmup_steps: int = Field(
        0, ge=0, description="steps of linear rise before the schedule; one-cycle has its own"
    )
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the gradient")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise ValueError(
                f"nesterov is true, but name is '{self.name}' and momentum {self.momentum:g}: "
                "it is for sgd with momentum above 0"
            )
        if self.warmup_steps and self.schedule == "one-cycle":
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, but the schedule one-cycle has a rise of "
                "its own: set warmup_steps to 0, or choose cosine, polynomial or constant"
            )
        return self


class TrainingConfig(Section):
    """One run's training."""

    epochs: int = Field(12, ge=1, lt=2**31)
    steps_per_epoch: _Steps = Field(
        None,
        description="optimiser steps of one epoch, for which the images are gone through again in "
        "a new order; null: once through the images; 'full': as many as all images of the training "
        "side would make, whatever data.train_images takes of them",
    )
    batch_size: int = Field(8, ge=1, lt=2**31)
    accumulate: int = Field(1, ge=1, lt=2**31, description="batches whose gradients make one step")
    optimiser: OptimiserConfig = OptimiserConfig()
    output: Literal["sigmoid", "softmax"] = Field(
        "sigmoid",
        description="'sigmoid': each class is a question of its own, and classes may overlap "
        "(binary, multi-label); 'softmax': one class per pixel, background too (multi-class)",
    )
    cross_entropy_weight: float = Field(
        0.5, ge=0, description="of (binary) cross-entropy in the loss"
    )
    dice_weight: float = Field(1.0, ge=0, description="of soft Dice in the loss")
    focal_weight: float = Field(0.0, ge=0, description="of the focal loss")
    focal_gamma: float = Field(2.0, ge=0, description="exponent of the focal loss")
    tversky_weight: float = Field(0.0, ge=0, description="of the Tversky loss")
    tversky_alpha: float = Field(0.3, ge=0, description="weight of false positives in it")
    tversky_beta: float = Field(0.7, ge=0, description="weight of false negatives in it")
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay per step of an exponential average of the weights, which is what is "
        "validated, stored and scored; null: the weights themselves",
    )
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="stop after so many epochs without a better mean IoU on validation; null: "
        "train all epochs",
    )
    workers: _Processes = Field(
        0, ge=0, description="loader processes; the bits do not depend on it"
    )
    loggers: dict[str, dict[str, Any]] = Field(
        {},
        description="further loggers of Lightning by class name, with their arguments, such as "
        "TensorBoardLogger: {}; metrics.csv is always written",
    )

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        weights = ("cross_entropy_weight", "dice_weight", "focal_weight", "tversky_weight")
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"no loss is left: give one of {', '.join(weights)} more than 0")
        return self


class EvaluationConfig(Section):
    """How masks are scored; the checkpoint is the best mean IoU on the validation split."""

    threshold: float = Field(
        0.5, gt=0, lt=1, description="probability above which a pixel is foreground"
    )
    nsd_tolerance: float = Field(2.0, gt=0, description="in millimetres, or pixels without spacing")
    match_distance: float = Field(
        5.0,
        gt=0,
        description="in millimetres, or pixels without spacing: how far a found object may be from "
        "the centre of a true one (detection)",
    )
    overlap: float = Field(
        0.5, ge=0, lt=1, description="of neighbouring windows, where a window slides"
    )


class ComputeConfig(Section):
    """What changes the bits or the time, but not the experiment."""

    threads: _Processes = Field(2, ge=1, description="CPU threads; another number gives other bits")
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: _Device = Field(
        "auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1 or mps"
    )
    devices: _Processes = Field(1, ge=1, description="GPUs, or CPU processes, on each machine")
    nodes: _Processes = Field(1, ge=1, description="machines")
    sync_batchnorm: bool = Field(
        False,
        description="batch statistics over all devices (GPUs only); otherwise each device has its "
        "own, of its share of the batch, and the result depends on their number",
    )
    compile: bool = Field(False, description="torch.compile; does not pay on CPU")
    keep_freed_memory: bool = Field(
        True, description="glibc keeps freed memory for the next step: faster, the same bits"
    )

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, values: Any) -> Any:
        """Take the field's former name, ``accelerator``, of a configuration that has it."""
        if not isinstance(values, dict) or "accelerator" not in values:
            return values
        if "device" in values:
            raise ValueError("accelerator is the former name of device: give device alone")
        others = {name: value for name, value in values.items() if name != "accelerator"}
        former = values["accelerator"]
        return {**others, "device": _ACCELERATORS.get(str(former), former)}

    @model_validator(mode="after")
    def _one_of_several(self) -> Self:
        if ":" in self.device and self.processes > 1:
            raise ValueError(
                f"device is '{self.device}', one GPU, for {self.processes} processes: set it to "
                "'cuda', or devices and nodes to 1"
            )
        return self

    @property
    def processes(self) -> int:
        """Processes that share each batch: ``devices`` on each of ``nodes``."""
        return self.devices * self.nodes
