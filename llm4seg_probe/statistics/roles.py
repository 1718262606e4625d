"""Roles of the columns of a table of results, the names that they go by, and columns of scores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from llm4seg_probe.column_words import SIDES, is_setting, side_of, words
from llm4seg_probe.score_names import ScoreName, parse_score

_YES_OR_NO = frozenset(("true", "false", "yes", "no", "0", "1", "0.0", "1.0", "y", "n", "t", "f"))


def is_side(column: pd.Series, *, exactly: bool = False) -> bool:
    """Whether a column's cells are sides of a split: train, val, test and their synonyms.

    "Training set" beside "Test set" are sides too, unless each cell must be a side ``exactly``.
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    values = [str(value) for value in column.dropna().unique()[: 2 * len(SIDES) + 1]]
    if not 0 < len(values) <= 2 * len(SIDES):
        return False
    if all(value.strip().lower() in SIDES for value in values):
        return True
    sides = {side_of(value) for value in values}
    return not exactly and "" not in sides and len(sides) > 1


def is_side_flag(table: pd.DataFrame, name: str) -> bool:
    """Whether a column such as ``is_train`` says yes or no to a side."""
    values = {str(value).strip().lower() for value in table[name].dropna().unique()[:7]}
    return bool(side_of(name)) and len(values) > 0 and values <= _YES_OR_NO


Role = Literal[
    "arm", "seed", "case", "group", "dataset", "fold", "split", "class", "epoch", "stratum",
    "mean", "sd", "n", "score",
]  # fmt: skip

NAMES: dict[Role, tuple[str, ...]] = {
    "arm": (
        "arm", "method", "methods", "model", "models", "model_name", "method_name", "network",
        "net", "approach", "algorithm", "algo", "architecture", "variant", "condition",
        "configuration", "config", "system", "experiment", "experiment_name", "run_group",
        "job_type", "methode", "modell", "verfahren", "netz", "netzwerk", "ansatz", "méthode",
        "modèle", "modele", "réseau", "modello", "metodo", "método", "modelo", "方法", "模型",
        "config_name", "configuration_name", "exp_name", "network_name", "net_name", "trainer",
    ),
    "seed": (
        "seed", "random_seed", "rng_seed", "torch_seed", "global_seed", "train_seed", "init_seed",
        "model_seed", "np_seed", "random_state", "manual_seed", "repetition", "repeat",
        "rep", "trial", "replicate", "cv_repeat", "repeat_id", "repeat_no", "rep_id", "seed_id",
        "split_seed", "shuffle_seed", "repetition_id", "run", "run_id", "run_number", "try",
        "iteration_seed", "wiederholung", "durchlauf", "lauf", "startwert", "graine", "semilla",
        "seme", "semente",
    ),
    "fold": (
        "fold", "folds", "cv_fold", "fold_id", "fold_idx", "fold_index", "kfold", "k_fold", "k",
        "cv", "cv_split", "fold_no", "fold_nr", "fold_number", "outer_fold", "test_fold",
        "val_fold", "validation_fold", "held_out_fold", "fold_name", "falte", "faltung", "pli",
        "fold_num", "xval", "xval_fold", "cv_round", "split_id", "split_idx", "split_index",
        "split_no", "split_nr", "split_number", "split_num", "partition_id",
    ),
    "split": ("split", "subset", "phase", "partition", "set", "mode", "side"),
    "class": (
        "class", "label", "organ", "structure", "class_id", "class_name", "label_name", "region",
        "roi", "tissue", "target", "anatomy",
    ),
    "epoch": ("epoch", "best_epoch", "step", "global_step", "iteration", "iter"),
    "dataset": ("dataset", "data_set", "data", "benchmark", "corpus", "task", "tasks", "cohort"),
    "stratum": ("backbone", "encoder", "feature_extractor", "base_model", "architecture"),
    "group": (
        "group", "patient", "patient_id", "patientid", "patient_name", "subject", "subject_id",
        "subjectid", "pid", "person", "participant", "participant_id", "case_id_patient", "mrn",
        "volume", "volume_id", "study", "study_id", "pat", "pat_id", "pt", "pt_id", "sub", "subj",
        "person_id", "study_uid", "study_instance_uid", "studyinstanceuid", "record", "record_id",
        "case_number",
    ),
    "case": (
        "image", "case", "image_id", "case_id", "case_name", "caseid", "img", "img_id",
        "image_name", "slice", "slice_id", "slice_name", "frame", "file", "filename", "file_name",
        "sample", "sample_id", "sop_instance_uid", "sopinstanceuid", "instance_uid", "bild",
        "bild_id", "fall", "fall_id", "scan", "scan_id", "slice_number", "slice_index", "slice_no",
        "example", "item", "question", "identifier", "id", "name",
    ),
    "mean": (
        "mean", "average", "avg", "mean_sd", "mean_std", "result", "mittelwert", "mw", "moyenne",
        "media", "promedio", "média",
    ),
    "sd": (
        "sd", "std", "stdev", "std_dev", "standard_deviation", "stddev", "stabw",
        "σ", "sigma", "standardabweichung", "écart_type", "ecart_type", "deviazione_standard",
        "desviación_estándar", "desviacion_estandar", "desvio_padrão",
    ),
    "n": ("n", "n_seeds", "n_runs", "seeds", "runs", "num_runs", "num_seeds", "n_splits", "splits"),
}  # fmt: skip
"""Names that columns go by, the likelier first; compared in lower case, units left out."""

STATES = ("state", "status", "tags", "user")
"""Columns of an export that tell how a run went, and not what it was."""
DATES = (
    "created", "created_at", "updated", "updated_at", "date", "datetime", "time", "timestamp",
    "started", "start_time", "finished", "end_time", "runtime", "duration",
)  # fmt: skip
"""Columns that tell when a run was made, and for how long."""

RUN_ROLES: tuple[Role, ...] = (
    "arm", "seed", "fold", "split", "class", "epoch", "dataset", "stratum", "group", "case",
)  # fmt: skip
MEANS_ROLES: tuple[Role, ...] = ("arm", "class", "dataset", "stratum", "mean", "sd", "n")


@dataclass(frozen=True)
class Match:
    """One column, what it was taken for, and why: its ``name``, its ``content``, or ``given``."""

    role: Role
    column: str
    how: Literal["name", "content", "given"]


SPREAD = frozenset(
    (
        "sd", "std", "stdev", "stddev", "se", "sem", "stderr", "var", "variance", "ci", "low",
        "high", "lower", "upper", "min", "max", "count", "σ", "sigma", "mad", "iqr", "range",
    )
)  # fmt: skip
"""Words that make a score's name that of its spread."""
RESOURCES = ("latency", "throughput", "regret", "distance")


def score_columns(table: pd.DataFrame, columns: Iterable[str]) -> dict[str, ScoreName]:
    """Columns that are named like a score, with their names taken apart; spreads left out."""
    found = {}
    for column in columns:
        name = parse_score(column)
        spread = set(words(column).split("_")) & SPREAD
        if (
            name.score is None
            or spread
            or is_setting(column)
            or (name.score.name in RESOURCES and not _alone(name, column))
        ):
            continue
        if not pd.api.types.is_datetime64_any_dtype(table[column].dtype):
            found[column] = name
    return found


def _alone(name: ScoreName, column: str) -> bool:
    """Whether the name is the score's own, and not that of some time or distance beside it."""
    return name.score is not None and words(column) == name.score.name


@dataclass
class Recognised:
    """The columns that are known, by role, and what was seen on the way.

    matches: one column per role. rejected: columns whose name promises a role that their cells do
    not keep, with the reason.
    """

    matches: dict[Role, Match] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)

    def column(self, role: Role) -> str | None:
        """The column of a role, None where there is none."""
        return self.matches[role].column if role in self.matches else None

    def columns(self, roles: Iterable[Role]) -> list[str]:
        """The columns of those of the roles that there are."""
        return [self.matches[role].column for role in roles if role in self.matches]

    def free(self, table: pd.DataFrame) -> list[str]:
        """The columns of the table that have no role yet."""
        taken = {match.column for match in self.matches.values()}
        return [str(name) for name in table.columns if name not in taken]
