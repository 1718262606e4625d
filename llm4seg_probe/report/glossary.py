"""The words of the page, each explained once; and how to cite it."""

from __future__ import annotations

from importlib.metadata import version

from llm4seg_probe.report.context import ReportContext

GLOSSARY: dict[str, str] = {
    "arm": "one kind of network in the comparison: the plain CNN, or the CNN with a language-model "
    "layer or one of its controls between encoder and decoder",
    "condition": "an arm together with what deviates in it from the base configuration, such as "
    "“LLM, frozen, layer 10”",
    "seed": "the number that starts a training run; runs of the same seed share the split, the "
    "order of the batches and the CNN's first weights, and are compared as pairs",
    "site": "the place in the network where features are looked at: before the layer is what "
    "enters it, after the layer is what the decoder receives",
    "claim": "a statement about two or more conditions, with the measurement that tests it",
    "margin": "the smallest difference that was said to matter, written down before the runs",
    "family": "claims whose p-values are adjusted together by Holm's method, so that one of them "
    "being true by chance is as rare as for a single claim",
    "null": "the same measure on features that carry no information, such as those of the network "
    "before training or of another image: the scale without which a number says little",
    "interval over runs": "where the mean difference of other training runs on the same images "
    "would lie (95 % t interval over seeds)",
    "interval over runs and patients": "the same for other patients too (bootstrap that draws "
    "seeds and patients, crossed)",
    "p, adjusted": "the chance of a difference as large as this one without any effect, after "
    "Holm's adjustment in the family",
    "equivalent": "the 90 % interval lies within the margin: any difference is too small to matter",
    "effective rank": "how many directions the features of an image use: exp of the entropy of the "
    "singular values' shares",
    "LSVR": "−ln of the largest singular value's share: small where one direction holds all",
    "signal-to-noise": "variance of the features between images over that between noise draws of "
    "one image, in decibels: 3 more is twice the ratio",
    "calibration error": "how far the confidence of pixels lies from the share of them that are "
    "right, in 15 bins of equal width; 0 where probabilities mean what they say",
    "activation IoU": "overlap of the thresholded activation map with the mask",
    "Otsu's level": "the threshold that parts a map's values into two groups of least variance; it "
    "is chosen for each map by itself",
    "hits, misses, false alarms": "foreground pixels that were found, those that were not, and "
    "background pixels that were called foreground",
}

PAPER = "https://arxiv.org/abs/2506.18034"
"""The paper whose claims are examined."""

_PAPER_BIBTEX = f"""@inproceedings{{tang2025llm4seg,
  title     = {{Pre-Trained LLM is a Semantic-Aware and Generalizable Segmentation Booster}},
  author    = {{Tang, Fenghe and Ma, Wenxin and He, Zhiyang and Tao, Xiaodong and Jiang, Zihang
               and Zhou, S. Kevin}},
  booktitle = {{MICCAI}},
  year      = {{2025}},
  url       = {{{PAPER}}}
}}"""


def bibtex(context: ReportContext) -> str:
    """Entries for the tool as it was used, and for the paper."""
    commit = context.machine.get("commit", "")
    note = f"Version {version('llm4seg-probe')}" + (f", commit {commit}" if commit else "")
    year = f"  year   = {{{context.date[:4]}}},\n" if context.date else ""
    tool = (
        "@software{llm4segprobe,\n"
        "  title  = {llm4seg-probe: train, take apart and test frozen language-model layers in "
        "medical image segmentation},\n"
        "  author = {{The llm4seg-probe developers}},\n"
        f"{year}  note   = {{{note}}}\n}}"
    )
    return f"{tool}\n\n{_PAPER_BIBTEX}"


def citing_sentence(context: ReportContext, answer: str) -> str:
    """A sentence for a paper's results section, with what it rests on."""
    arms, seeds = len(context.arms), len(context.seeds)
    runs = f"{arms} arms and {seeds} seeds" if arms else "its runs"
    sets = ", ".join(data.name for data in context.all_datasets)
    commit = context.machine.get("commit", "")
    made = f"version {version('llm4seg-probe')}" + (f", commit {commit}" if commit else "")
    return (
        f"With llm4seg-probe ({made}), {runs} were compared on {sets} at size "
        f"{context.size or 'as configured'}. {answer}"
    ).strip()
