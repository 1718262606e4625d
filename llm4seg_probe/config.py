"""What an experiment is: every choice that can change a number is a field here.

A run folder's ``config.yaml`` writes every field out, defaults included. Fields named
``reference`` reproduce what the published code of LLM4Seg (MICCAI 2025) does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from yaml import YAMLError

from llm4seg_probe.errors import ConfigError, unknown

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


_SHOWN = 3  # problems that one message names

ModelT = TypeVar("ModelT", bound=BaseModel)


class Section(BaseModel):
    """Part of a configuration: immutable, and without room for misspelt fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Which images, how they are split, and what is done to them before the network."""

    name: str = Field(
        "spine",
        description="'spine', 'spine-volumes' (3D), 'phantoms-KIND' (or 'phantoms-KIND-3d'), or "
        "the path of a folder",
    )
    split: str = Field(
        "blocks",
        description="how train, val and test are drawn: 'blocks' (contiguous slices with a gap, "
        "the same people on both sides), 'cases' (by case), 'groups' (by group, stratified by "
        "size of the foreground), 'reference' (as published: validation is test), the path of a "
        "stored split, or of a published `_train.txt` list",
    )
    split_seed: int = Field(
        0, ge=0, description="seed of the split; the same for all arms and seeds"
    )
    image_size: tuple[int, ...] = Field(
        (96, 96),
        description="pixels that the network sees: height, width (or depth, height, width)",
    )
    channels: Literal[1, 3] = Field(1, description="channels of the network's input")
    classes: tuple[str, ...] = Field(
        ("foreground",),
        min_length=1,
        description="names of the mask's classes, background left out",
    )
    normalisation: Literal["modality", "imagenet", "reference"] = Field(
        "modality",
        description="'modality': CT by a window of -200 to 800 HU, MR by its mean and SD, 8-bit "
        "images by their mean and SD; 'imagenet': its channel statistics; 'reference': those, then "
        "divided by 255 once more, with channels in BGR order, as the published code does",
    )
    augmentation: Literal["none", "reference", "mild"] = Field(
        "reference",
        description="'reference': random quarter turns and flips; 'mild': flips left-right, small "
        "turns, shifts and scalings, and intensity changes; 'none'",
    )

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if len(self.image_size) not in (2, 3) or min(self.image_size) < 16:
            raise ValueError(
                f"image_size is {list(self.image_size)}: give 2 or 3 numbers of at least 16"
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

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(4e-3, gt=0, description="peak learning rate of the CNN")
    adapters_lr: float | None = Field(None, gt=0, description="of the two linear adapters")
    layer_lr: float | None = Field(None, gt=0, description="of a decoder layer that is trained")
    weight_decay: float = Field(1e-4, ge=0, description="of the CNN")
    adapters_weight_decay: float | None = Field(None, ge=0)
    layer_weight_decay: float | None = Field(None, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD; AdamW has its own")
    schedule: Literal["one-cycle", "polynomial", "constant"] = "one-cycle"
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the gradient")


class TrainingConfig(Section):
    """One run's training."""

    epochs: int = Field(12, ge=1)
    batch_size: int = Field(8, ge=1)
    optimiser: OptimiserConfig = OptimiserConfig()
    cross_entropy_weight: float = Field(
        0.5, ge=0, description="of (binary) cross-entropy in the loss"
    )
    dice_weight: float = Field(1.0, ge=0, description="of soft Dice in the loss")
    workers: int = Field(0, ge=0, description="loader processes; the bits do not depend on it")


class EvaluationConfig(Section):
    """How masks are scored; the checkpoint is the best mean IoU on the validation split."""

    threshold: float = Field(
        0.5, gt=0, lt=1, description="probability above which a pixel is foreground"
    )
    nsd_tolerance: float = Field(2.0, gt=0, description="in millimetres, or pixels without spacing")


class ComputeConfig(Section):
    """What changes the bits or the time, but not the experiment."""

    threads: int = Field(2, ge=1, description="CPU threads; another number gives other bits")
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    keep_freed_memory: bool = Field(
        True, description="glibc keeps freed memory for the next step: faster, the same bits"
    )


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


def load_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a run's YAML file, apply ``key=value`` overrides, and validate.

    Raises ConfigError that names the file, the field, and the nearest valid name.
    """
    return validated(read_yaml(path, overrides), Config, str(path))


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


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        parent = _model_at(model, problem["loc"][:-1])
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
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


def to_yaml(config: BaseModel) -> str:
    """The complete configuration as YAML, every default written out."""
    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
