"""Fields of a configuration that choose and prepare the images."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator

from llm4seg_probe.config.section import Section
from llm4seg_probe.reading.bounds import at_most

_Processes = Annotated[int, AfterValidator(lambda value: at_most("threads", value))]
_Channels = Annotated[int, AfterValidator(lambda value: at_most("channels", value))]
_Side = Annotated[int, AfterValidator(lambda value: at_most("side", value))]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _amount(value: Any) -> Any:
    """A count of images as int, a share of them as float, or all; what 1.0 means is not guessed."""
    is_count = type(value) is int and 1 <= value < 2**31
    if is_count or (type(value) is float and 0 < value < 1) or value == "all":
        return value
    raise ValueError(
        "give a count of images of at least 1 (8), a share of them between 0 and 1 (0.1), or all"
    )


Amount = Annotated[int | float | Literal["all"], BeforeValidator(_amount)]
"""How many of the training side's images: a count, a share, or ``all``."""


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
    split_seed: _Seed = Field(0, description="seed of the split; the same for all arms and seeds")
    train_images: Amount = Field(
        "all",
        description="how many images of the training side are trained on: a count (8), a share "
        "(0.1), or all; whole patients, in an order drawn by the run's seed, until the count is "
        "reached, so that fewer images are among more, and alike in all arms of a seed",
    )
    label_noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the training masks with foreground that is made wrong, a quarter "
        "each eroded, dilated, shifted and dropped, drawn by the run's seed and the image; masks "
        "of validation and test are never touched",
    )
    image_size: tuple[_Side, ...] = Field(
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
    patches_per_image: _Processes = Field(
        2, ge=1, description="patches cut from an image in one epoch"
    )
    foreground_share: float = Field(
        1 / 3, ge=0, le=1, description="share of the patches that is centred on the foreground"
    )
    channels: _Channels = Field(1, ge=1, description="channels of the network's input")
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
    normalisation: Literal["modality", "imagenet", "reference", "nnunet"] = Field(
        "modality",
        description="'modality': CT by ct_window, each channel of MR by its mean and SD, 8-bit "
        "images by theirs; 'imagenet': its channel statistics; 'reference': those, then "
        "divided by 255 once more, with channels in BGR order, as the published code does; "
        "'nnunet': images that nnU-Net has prepared, as they are",
    )
    nnunet: dict[str, Any] | None = Field(
        None,
        description="of a network that nnU-Net trained: its plans, configuration and dataset.json, "
        "by which its images are prepared (written by `llm4seg-probe convert`)",
    )
    augmentation: Augmentations = Field(
        "reference",
        description="'reference': random quarter turns and flips; 'mild': flips left-right, small "
        "turns, shifts and scalings, and intensity changes; 'nnunet-like': larger ones, with noise "
        "and blur; 'none'; or a list of MONAI's random dictionary transforms",
    )

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        at_most("channels", len(self.classes), "the names of classes are ")
        least = 16 if self.nnunet is None else 1  # nnU-Net plans thin patches, and shallow networks
        if len(self.image_size) not in (2, 3) or min(self.image_size) < least:
            raise ValueError(
                f"image_size is {list(self.image_size)}: give 2 or 3 numbers of at least 16"
            )
        at_most("pixels", math.prod(self.image_size), f"image_size {list(self.image_size)} is ")
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
    def _prepared_by_nnunet(self) -> Self:
        if (self.normalisation == "nnunet") != (self.nnunet is not None):
            raise ValueError(
                f"normalisation is '{self.normalisation}' and nnunet is "
                f"{'null' if self.nnunet is None else 'given'}: images are prepared by nnU-Net "
                "where both say so"
            )
        return self

    @model_validator(mode="after")
    def _statistics_of_channels(self) -> Self:
        if self.normalisation in ("imagenet", "reference") and self.channels not in (1, 3):
            raise ValueError(
                f"channels is {self.channels}, but normalisation '{self.normalisation}' has "
                "statistics of 1 and 3 only: set normalisation to 'modality'"
            )
        return self
