"""Words in the names of columns: brought to one way of writing, and the sides of a split."""

from __future__ import annotations

import itertools
import re
import unicodedata

SIDES: dict[str, str] = {
    word: side
    for side, spoken in {
        "train": "train training trainset trn tr fit in_sample entrenamiento entraînement "
        "entrainement apprentissage treino treinamento addestramento lernen 训练 训练集",
        "val": "val valset valid validation validate dev development validierung validación "
        "validacion validação validazione 验证 验证集",
        "test": "test testing testset tst ts te holdout hold_out heldout held_out out_of_sample "
        "eval evaluation prueba teste essai évaluation evaluierung prüfung valutazione evaluación "
        "avaliação 测试 测试集",
    }.items()
    for word in spoken.split()
}
"""Words for the side of a split, in names and in cells."""

_PREFIX = re.compile(
    r"^(metrics?|summary|params?|config|tags|hparams|hyperparameters|args)"
    r"(?:[./]|_(?!(?:name|id|file|key|type|group|index|no|number|set)s?$))"
)
"""What an export writes before a name: ``params_seed`` is a seed, ``metric_name`` is none."""
_SETTING = re.compile(r"^(params?|config|hparams|hyperparameters|args)[_./]", re.IGNORECASE)


def plain(name: object) -> str:
    """A column's name in lower case, without units or punctuation.

    >>> plain("IoU (%)"), plain("Patient ID")
    ('iou', 'patient_id')
    """
    text = unicodedata.normalize("NFKC", str(name))
    without_unit = re.sub(r"[(\[][^()\[\]]*[)\]]|%", "", text)
    return _joined(without_unit) or _joined(text)


def words(name: object) -> str:
    """A column's name as words joined by ``_``, with what stands in brackets.

    >>> words("Dice (WT)"), words("metrics.val_loss"), words("HD95 [mm]"), words("valLoss")
    ('dice_wt', 'val_loss', 'hd95_mm', 'val_loss')
    """
    text = unicodedata.normalize("NFKC", str(name)).strip()
    text = _PREFIX.sub("", text.lower()) if _PREFIX.match(text.lower()) else text
    text = re.sub(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})", "_", text)
    return _joined(text)


def is_setting(name: object) -> bool:
    """Whether an export says that a column holds a setting of the run, and no result of it.

    >>> is_setting("config.dice_weight"), is_setting("metrics.dice")
    (True, False)
    """
    return _SETTING.match(str(name).strip()) is not None


def side_of(text: object) -> str:
    """The one side of a split that words speak of; empty where they name none, or several.

    >>> side_of("Training set"), side_of("is_test"), side_of("LiTS"), side_of("train-test gap")
    ('train', 'test', '', '')
    """
    name = words(text)
    if name in SIDES:
        return SIDES[name]
    parts = name.split("_")
    pairs = ["_".join(both) for both in itertools.pairwise(parts)]
    said = [part for part in (*parts, *pairs) if part in SIDES]
    # "train_eval" is an evaluation of the training side.
    sides = {SIDES[part] for part in said if part != "eval" or len(said) == 1}
    return sides.pop() if len(sides) == 1 else ""


def _joined(text: str) -> str:
    return re.sub(r"[^\w]+|_+", "_", text.lower().replace("@", " at ")).strip("_")
