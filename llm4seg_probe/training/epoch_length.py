"""How long an epoch is: once through the training images, or a stated number of steps."""

from __future__ import annotations

import math

from llm4seg_probe.config import Config


def items_of_epoch(config: Config, images: int, of_all: int) -> int:
    """Items of one epoch of a run on so many images, of a training side of ``of_all``.

    An item is an image, or one of its patches. With ``training.steps_per_epoch: full`` the items
    are as many as those of all images, and so the steps are those of a run on all of them.
    """
    data, training = config.data, config.training
    patches = data.patches_per_image if data.sampling == "patches" else 1
    if training.steps_per_epoch is None:
        return images * patches
    if training.steps_per_epoch == "full":
        return of_all * patches
    return training.steps_per_epoch * training.accumulate * training.batch_size


def batches_of_epoch(config: Config, images: int, of_all: int) -> int:
    """Batches of one epoch; a last small one counts."""
    return math.ceil(items_of_epoch(config, images, of_all) / config.training.batch_size)
