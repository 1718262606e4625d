"""Train on few images: whole patients of the training side, in an order drawn by the run's seed.

The order depends on the seed and on each patient's own name alone. A subset is its beginning: the
patients up to the one with whom the wanted number of images is reached. So a smaller subset lies
within a larger one, all arms of a seed train on the same images, and no patient is halved; an image
without a patient is one of its own, and the number is then met exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llm4seg_probe.config import Amount, Config, DataConfig
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split, split_of, unchecked_split
from llm4seg_probe.errors import DataError
from llm4seg_probe.randomness import address

ALL = "all"


def training_split(collection: Collection, config: Config) -> Split:
    """The split of a run, whose training side are the images that it is trained on.

    Raises DataError as :func:`split_of`, and where more images are asked for than there are.
    """
    split = split_of(collection, config.data)
    if config.data.train_images == ALL:
        return split
    return replace(split, train=_beginning(collection, split, config.data, config.seed))


def count_of(amount: Amount, images: int) -> int:
    """How many of so many images an amount asks for; of a share at least one.

    >>> count_of(8, 120), count_of(0.1, 120), count_of("all", 120)
    (8, 12, 120)
    """
    if isinstance(amount, str):
        return images
    return amount if isinstance(amount, int) else max(1, round(amount * images))


def _beginning(
    collection: Collection, split: Split, data: DataConfig, seed: int
) -> tuple[str, ...]:
    """Images of the first patients of the order, in the order of the split."""
    wanted = count_of(data.train_images, len(split.train))
    if wanted > len(split.train):
        raise DataError(
            f"data.train_images: {wanted} images are asked for, but the training side of "
            f"{collection.name} (split '{split.name}') has {len(split.train)}: ask for fewer, or "
            "for all"
        )
    by_unit: dict[str, list[str]] = {}
    for image in split.train:
        by_unit.setdefault(collection.sample(image).unit, []).append(image)
    taken: set[str] = set()
    for unit in sorted(by_unit, key=lambda unit: (address(seed, "train_images", unit), unit)):
        if len(taken) >= wanted:
            break
        taken |= set(by_unit[unit])
    return tuple(image for image in split.train if image in taken)


def all_training_images(collection: Collection, data: DataConfig, train: Sequence[str]) -> int:
    """How many images the training side has of which ``train`` are trained on."""
    if data.train_images == ALL:
        return len(train)
    return len(unchecked_split(collection, data).train)


def refuse_without_foreground(collection: Collection, split: Split, config: Config) -> None:
    """Raise DataError where the images of a subset have no foreground, or none of a class.

    Reads their masks up to the one with which every class was seen.
    """
    unseen = list(collection.classes)
    for image in split.train:
        mask = collection.read_to_train(collection.sample(image)).mask
        there = {name for name, plane in zip(collection.classes, mask, strict=True) if plane.any()}
        unseen = [name for name in unseen if name not in there]
        if not unseen:
            return
    which = (
        "has no foreground"
        if len(unseen) == len(collection.classes)
        else f"has no foreground of class {', '.join(unseen)}"
    )
    raise DataError(
        f"{collection.name}: the subset of {_counted(len(split.train), 'image')} that "
        f"data.train_images: {config.data.train_images} takes for seed {config.seed} {which}: ask "
        "for more images, or leave this seed out"
    )


def told(collection: Collection, split: Split, config: Config) -> str:
    """What the run is trained on, where that is a subset, in one sentence; else empty."""
    if config.data.train_images == ALL:
        return ""
    whole = unchecked_split(collection, config.data).train
    units, of_units = ({collection.sample(i).unit for i in some} for some in (split.train, whole))
    patients, rule = "", ""
    if len(of_units) < len(whole):
        patients = f", {len(units)} of {_counted(len(of_units), 'patient')}"
        rule = " and taken whole"
    return (
        f"Trains on {len(split.train)} of {_counted(len(whole), 'image')}{patients} "
        f"(data.train_images: {config.data.train_images}, drawn by seed {config.seed}{rule})."
    )


def asked_told(config: Config) -> tuple[str, ...]:
    """What a configuration asks of the training images, in sentences; none where it is all of them.

    Without looking at the data: how many images whole patients come to is said by :func:`told`.
    """
    data, steps = config.data, config.training.steps_per_epoch
    amount = data.train_images
    said = []
    if amount != ALL:
        of = f"{_counted(amount, 'image')}" if isinstance(amount, int) else f"a share of {amount:g}"
        said.append(
            f"Trains on {of} of the training side (data.train_images), drawn by seed "
            f"{config.seed}; where there are patients they are taken whole, until so many are "
            "reached."
        )
    if data.label_noise:
        said.append(
            f"A share of {data.label_noise:g} of the training masks is made wrong "
            "(data.label_noise); those of validation and test are as they are."
        )
    if steps is not None:
        many = "as many steps as all images make" if steps == "full" else _counted(steps, "step")
        said.append(f"An epoch has {many} (training.steps_per_epoch: {steps}).")
    return tuple(said)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
