"""Groups of commands in ``--help``, and an example or two of each command."""

from __future__ import annotations

from llm4seg_probe.probes import registry

START, DATA, RUNS = "Start", "Data", "Train and predict"
PROBES, STUDIES, STATISTICS = "Probes", "Studies", "Statistics for any results"

PANELS = {
    "demo": START, "doctor": START, "list": START, "cache": START,
    "data": DATA, "llm": DATA,
    "show": RUNS, "train": RUNS, "evaluate": RUNS, "predict": RUNS, "convert": RUNS,
    "sweep": STUDIES, "report": STUDIES, "nnunet": STUDIES,
    "compare": STATISTICS, "plan": STATISTICS, "audit": STATISTICS,
}  # fmt: skip
"""The group of each command; a command that is not named here is a probe."""
ORDER = (START, DATA, RUNS, PROBES, STUDIES, STATISTICS)

_NAME = "llm4seg-probe"
EXAMPLES = {
    "demo": ("demo --quick", "demo --open"),
    "doctor": ("doctor",),
    "list": ("list arms", "list probes"),
    "cache": ("cache", "cache --clear data"),
    "show": ("show run.yaml", "show run.yaml arm=cnn --time"),
    "train": ("train run.yaml", "train run.yaml arm=cnn seed=3 --out runs/cnn-3"),
    "evaluate": ("evaluate --ckpt 'runs/*/run.pt'",),
    "predict": ("predict --ckpt run.pt --images new-images --overlays",),
    "convert": ("convert best.pth --out run.pt",),
    "sweep": ("sweep my-study.yaml --dry-run", "sweep my-study.yaml --size quick --open"),
    "report": ("report reports/demo --open", "report reports/demo --one-file --out shared"),
    "compare": (
        "compare results.csv --baseline unet --score dice",
        "compare scores.csv --where split=test --where checkpoint=best",
    ),
    "plan": ("plan pilot.csv --margin 0.01",),
    "audit": ("audit their-table.csv --open", "audit theirs.csv --where split=test"),
    "data check": ("data check my-images --split groups",),
    "data split": ("data split my-images --kind groups --folds 5",),
    "data list": ("data list",),
    "data prepare": ("data prepare busi Dataset_BUSI_with_GT.zip",),
    "data phantoms": ("data phantoms --kind texture --out phantoms",),
    "llm list": ("llm list",),
    "llm fetch": ("llm fetch smollm2-135m --layer 15",),
    "llm show": ("llm show smollm2-135m",),
    "nnunet trainers": ("nnunet trainers",),
    "nnunet plans": ("nnunet plans 501 --source smollm2-135m --out nnUNetPlans_llm",),
    "nnunet table": ("nnunet table $nnUNet_results/Dataset501_Spine",),
    "nnunet compare": ("nnunet compare $nnUNet_results/Dataset501_Spine",),
}
"""Uses of each command, as they are typed after the program's name; a probe's are its own."""


def examples(name: str) -> tuple[str, ...]:
    """Uses of a command; none where it has none."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    probe = registry.probes().get(name)
    return () if probe is None else probe.examples


def epilog(name: str) -> str | None:
    """The examples of a command, as they stand under its help."""
    lines = [f"    {_NAME} {words}" for words in examples(name)]
    if not lines:
        return None
    title = "Example" if len(lines) == 1 else "Examples"
    return "\n\n".join([f"{title}:", *lines])
