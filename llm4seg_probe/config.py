"""What an experiment is: every choice that can change a number is a field here.

A run folder's ``config.yaml`` writes every field out, defaults included. Fields named
``reference`` reproduce what the published code of LLM4Seg (MICCAI 2025) does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.presets import preset_path
from llm4seg_probe.yaml_files import on_top
from llm4seg_probe.yaml_files import read_yaml as read_yaml
from llm4seg_probe.yaml_files import to_yaml as to_yaml
from llm4seg_probe.yaml_files import validated as validated

Arm = Literal[
    "cnn",
    "llm",
    "llm-trainable",
    "transformer",
    "random-frozen",
    "shuffled-frozen",
    "adapters",
    "mlp",
    "attention-only",
    "mlp-only",
    "llm-lora",
]
ARMS_THAT_TRAIN_A_LAYER = ("llm-trainable", "transformer")
"""Arms whose layer moves as a whole, so that low precision is not for them."""


class Section(BaseModel):
    """Part of a configuration: immutable, and without room for misspelt fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


AugmentationName = Literal["none", "reference", "mild", "nnunet-like"]


class Transform(Section):
    """One of MONAI's random dictionary transforms, which moves image and mask alike."""

    name: str = Field(description="its class in monai.transforms, such as RandFlipd")
    on: Literal["both", "image"] = Field(
        "both", description="'image' for changes of intensity; masks are moved with the image"
    )
    options: dict[str, Any] = Field({}, description="its arguments but for the keys")


Augmentations = Annotated[
    Annotated[AugmentationName, Tag("[name]")] | Annotated[tuple[Transform, ...], Tag("[list]")],
    Discriminator(lambda value: "[name]" if isinstance(value, str) else "[list]"),
]
"""A name, or a list; told apart first, so that an error is about the one that was meant."""


class DataConfig(Section):
    """Which images, how they are split, and what is done to them before the network."""

    name: str = Field(
        "spine",
        description="'spine', 'spine-volumes' (3D), 'phantoms-KIND' (or 'phantoms-KIND-3d'), a set "
        "of the paper that was prepared ('busi', …), or the path of a folder or of a CSV file",
    )
    split: str = Field(
        "blocks",
        description="how train, val and test are drawn: 'blocks' (contiguous slices with a gap, "
        "the same people on both sides), 'cases' (by case), 'groups' (by group, stratified by "
        "size of the foreground), 'own' (the data set's own sides, where it has them), "
        "'reference' (as published: validation is test), the path of a "
        "stored split, or of a published `_train.txt` list",
    )
    split_seed: int = Field(
        0, ge=0, description="seed of the split; the same for all arms and seeds"
    )
    image_size: tuple[int, ...] = Field(
        (96, 96),
        description="pixels that the network sees: height, width (or depth, height, width)",
    )
    spacing: tuple[float, ...] | None = Field(
        None,
        description="millimetres per pixel or voxel, in the order of image_size, to which images "
        "are resampled first; null: each image as it is",
    )
    sampling: Literal["whole", "patches"] = Field(
        "whole",
        description="'whole': images resized to image_size; 'patches': training cuts patches of "
        "image_size at random, scoring slides a window of that size over the image, and probes "
        "see one patch of each image, on its foreground",
    )
    patches_per_image: int = Field(2, ge=1, description="patches cut from an image in one epoch")
    foreground_share: float = Field(
        1 / 3, ge=0, le=1, description="share of the patches that is centred on the foreground"
    )
    channels: int = Field(1, ge=1, description="channels of the network's input")
    modality: Literal["ct", "mr", "photo"] | None = Field(
        None, description="of images whose data set does not say it"
    )
    ct_window: tuple[float, float] = Field(
        (-200.0, 800.0), description="lower and upper Hounsfield unit that CT is clipped to"
    )
    classes: tuple[str, ...] = Field(
        ("foreground",),
        min_length=1,
        description="names of the mask's classes, background left out",
    )
    normalisation: Literal["modality", "imagenet", "reference"] = Field(
        "modality",
        description="'modality': CT by ct_window, each channel of MR by its mean and SD, 8-bit "
        "images by theirs; 'imagenet': its channel statistics; 'reference': those, then "
        "divided by 255 once more, with channels in BGR order, as the published code does",
    )
    augmentation: Augmentations = Field(
        "reference",
        description="'reference': random quarter turns and flips; 'mild': flips left-right, small "
        "turns, shifts and scalings, and intensity changes; 'nnunet-like': larger ones, with noise "
        "and blur; 'none'; or a list of MONAI's random dictionary transforms",
    )

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if len(self.image_size) not in (2, 3) or min(self.image_size) < 16:
            raise ValueError(
                f"image_size is {list(self.image_size)}: give 2 or 3 numbers of at least 16"
            )
        if self.spacing is not None and (
            len(self.spacing) != len(self.image_size) or min(self.spacing) <= 0
        ):
            raise ValueError(
                f"spacing is {list(self.spacing)}: give {len(self.image_size)} numbers of "
                "millimetres, in the order of image_size"
            )
        if self.ct_window[0] >= self.ct_window[1]:
            raise ValueError(f"ct_window is {list(self.ct_window)}: give the lower number first")
        return self

    @model_validator(mode="after")
    def _statistics_of_channels(self) -> Self:
        if self.normalisation != "modality" and self.channels not in (1, 3):
            raise ValueError(
                f"channels is {self.channels}, but normalisation '{self.normalisation}' has "
                "statistics of 1 and 3 only: set normalisation to 'modality'"
            )
        return self


class BackboneConfig(Section):
    """The CNN whose encoder and decoder the booster stands between."""

    name: str = Field(
        "cmunext",
        description="a name of `llm4seg-probe list backbones`, or 'package.module:callable' that "
        "takes in_channels and out_channels and returns a torch module",
    )
    widths: tuple[int, ...] | None = Field(
        None, description="channels of each stage; null: those of the published network"
    )
    deep_supervision: bool = Field(
        False,
        description="coarser outputs are supervised too, in networks whose original does so",
    )
    at: str | None = Field(
        None,
        description="module after which the booster goes; null: the bottleneck of the backbone",
    )
    output: int | str | None = Field(
        None, description="which entry is boosted where that module returns a tuple, list or dict"
    )
    options: dict[str, Any] = Field(
        {}, description="further arguments of a callable that is not one of the backbones"
    )


class BoosterConfig(Section):
    """What stands between encoder and decoder, in every arm but ``cnn``."""

    source: str = Field(
        "smollm2-135m",
        description="where the decoder layer comes from: an embedded name, a folder in Hugging "
        "Face layout, or a Hub id",
    )
    layer: int | tuple[int, ...] = Field(
        15, description="which layer, counted from 1; negative from the end; several run in order"
    )
    attention: Literal["causal", "bidirectional", "reference"] = Field(
        "causal",
        description="attention mask over the tokens in raster order; 'reference' is an alias of "
        "'causal'",
    )
    position: Literal["reference", "rope", "axial-rope", "none"] = Field(
        "reference",
        description="'reference': one angle per token, sine and cosine exchanged, as published; "
        "'rope': the model's own; 'axial-rope': by row and column; 'none'",
    )
    residual: bool = Field(False, description="add the booster's input to its output")
    final_norm: bool = Field(False, description="the language model's final norm after the layer")
    init: Literal["reference", "normal", "matched"] = Field(
        "normal",
        description="random layers: 'reference' (Xavier-uniform, pre-trained norm scales kept), "
        "'normal' (the model's own initialiser), 'matched' (normal, each tensor with the "
        "Frobenius norm of the pre-trained one)",
    )
    adapter_init: Literal["pytorch", "xavier", "orthogonal"] = Field(
        "pytorch", description="initial weights of the two linear adapters"
    )
    layer_precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="precision in which a frozen layer is stored and computed"
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute the layer in the backward pass instead of storing it"
    )
    lora_rank: int = Field(8, ge=1, description="rank of the low-rank adapters of arm llm-lora")
    lora_alpha: int = Field(
        16, ge=1, description="their output is scaled by lora_alpha / lora_rank"
    )

    @property
    def layers(self) -> tuple[int, ...]:
        """The wanted layers as a tuple, in the order in which they run."""
        return self.layer if isinstance(self.layer, tuple) else (self.layer,)


class OptimiserConfig(Section):
    """How weights move. A rate of null means that of the CNN."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(4e-3, gt=0, description="peak learning rate of the CNN")
    adapters_lr: float | None = Field(None, gt=0, description="of the two linear adapters")
    layer_lr: float | None = Field(None, gt=0, description="of a decoder layer that is trained")
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

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(8, ge=1)
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
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
    early_stopping: int | None = Field(
        None,
        ge=1,
        description="stop after so many epochs without a better mean IoU on validation; null: "
        "train all epochs",
    )
    workers: int = Field(0, ge=0, description="loader processes; the bits do not depend on it")
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
    overlap: float = Field(
        0.5, ge=0, lt=1, description="of neighbouring windows, where a window slides"
    )


class ComputeConfig(Section):
    """What changes the bits or the time, but not the experiment."""

    threads: int = Field(2, ge=1, description="CPU threads; another number gives other bits")
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1, description="GPUs, or CPU processes, on each machine")
    nodes: int = Field(1, ge=1, description="machines")
    sync_batchnorm: bool = Field(
        False,
        description="batch statistics over all devices (GPUs only); otherwise each device has its "
        "own, of its share of the batch, and the result depends on their number",
    )
    compile: bool = Field(False, description="torch.compile; does not pay on CPU")
    keep_freed_memory: bool = Field(
        True, description="glibc keeps freed memory for the next step: faster, the same bits"
    )

    @property
    def processes(self) -> int:
        """Processes that share each batch: ``devices`` on each of ``nodes``."""
        return self.devices * self.nodes


class Config(Section):
    """One run: one arm, one seed, one data set."""

    arm: Arm = Field("llm", description="a name of `llm4seg-probe list arms`")
    seed: int = Field(0, ge=0, description="of initial weights, batches and augmentation")
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    booster: BoosterConfig = BoosterConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _precision_of_a_trained_layer(self) -> Self:
        if self.arm in ARMS_THAT_TRAIN_A_LAYER and self.booster.layer_precision != "fp32":
            raise ValueError(
                f"booster.layer_precision is '{self.booster.layer_precision}', but arm "
                f"'{self.arm}' trains its layer, which needs fp32: set it to fp32 for this arm"
            )
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
    not give them. Raises ConfigError that names the file, the field, and the nearest valid name.
    """
    values = read_yaml(path, overrides)
    if "preset" in values:
        try:
            beneath = read_yaml(preset_path(str(values.pop("preset"))))
        except ConfigError as error:
            raise ConfigError(f"{path}: preset: {error}") from error
        values = on_top(beneath, values)
    return validated(values, Config, str(path))
