"""Sections of the page: what each shows and cannot show, its figures, its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from llm4seg_probe.drawing.table_rows import compared, one_kind_of_map
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.maps import figure as maps_figure
from llm4seg_probe.probes.maps import gallery_figure
from llm4seg_probe.probes.rank import figure as rank_figure
from llm4seg_probe.report import page_tables
from llm4seg_probe.report.figures import cases, curves, forest, ladder, paired
from llm4seg_probe.report.figures import sizes as sizes_figure
from llm4seg_probe.report.page_tables import (
    Listing,
    ladder_listing,
    selection_listing,
    sizes_listing,
)
from llm4seg_probe.report.results import Results


@dataclass(frozen=True)
class Drawing:
    """A figure of a section: its file's name, its table, how it is drawn, and what it says.

    ``draw`` returns None where the table holds nothing for it.
    """

    name: str
    table: str
    draw: Callable[[Results], Figure | None]
    alt: Callable[[Results], str]
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A section of the page. It was not run where one of the files it ``needs`` is not there.

    part: the part of the page that it stands in, see :mod:`report.page`. by_design: it is of
    analyses that vary what it shows, and on the page of another it is left out.
    """

    anchor: str
    title: str
    shows: str
    cannot: str
    needs: tuple[str, ...]
    command: Callable[[Results], str]
    drawings: tuple[Drawing, ...] = ()
    listing: Callable[[Results], Listing] | None = None
    part: str = "conditions"
    by_design: bool = False

    def is_shown(self, results: Results) -> bool:
        """Whether it is on the page of these results, if only to say that it was not run."""
        return not (self.by_design and self.missing(results))

    def missing(self, results: Results) -> list[str]:
        """Files without which this section was not run."""
        return [name for name in self.needs if not results.has(name)]


def _compare_command(results: Results) -> str:
    command = (
        "llm4seg-probe compare scores.csv --where split=test --where checkpoint=best"
        f" --score {results.main_score}"
    )
    comparison = results.tables.get("comparison.csv")
    rows = None if comparison is None else compared(comparison, "scores", results.main_score)
    if rows is None or rows.empty:
        return f"{command} --baseline cnn"
    return f"{command} --baseline {rows['b'].iloc[0]} --margin {rows['margin'].iloc[0]:g}"


def _effects(results: Results) -> Figure | None:
    comparison = results.tables["comparison.csv"]
    if compared(comparison, "scores").empty:
        return None
    return forest.figure(comparison, results.main_score)


def _gallery(results: Results) -> Figure | None:
    arrays = results.arrays
    return None if arrays is None else gallery_figure.figure(arrays, arrays.first_seed)


def _gallery_alt(results: Results) -> str:
    arrays = results.arrays
    return "" if arrays is None else gallery_figure.alt(arrays, arrays.first_seed)


def _rank_listing(results: Results) -> Listing:
    values = ("effective_rank", "lsvr", "stable_rank", "participation_ratio")
    return page_tables.site_listing(
        results.tables["rank.csv"],
        "rank",
        (*values, "largest_token_share"),
        "Rank measures by arm and site, mean over images and seeds",
    )


def _maps_listing(results: Results) -> Listing:
    chosen = one_kind_of_map(results.tables["maps.csv"])
    kind = f"{chosen['reduction'].iloc[0]}, threshold {chosen['threshold'].iloc[0]}"
    return page_tables.site_listing(
        chosen,
        "maps",
        ("iou", "auroc", "contrast", "noise", "sharpness"),
        f"Activation maps against the masks by arm and site ({kind}), mean over images and seeds",
    )


_RANK, _MAPS = registry.find("rank"), registry.find("maps")

SECTIONS: tuple[Section, ...] = (
    Section(
        anchor="seeds",
        title="Seed by seed",
        shows="Each line is one seed. The arms of a seed share the split, the order of the "
        "batches and the CNN's first weights, so that the lines are to be compared and not the "
        "clouds. The bar is the mean over seeds.",
        cannot="The spread is that of training runs on these cases; what other patients or "
        "another data set would give, it cannot show.",
        needs=("scores.csv",),
        command=_compare_command,
        drawings=(
            Drawing(
                "paired-scores",
                "scores.csv",
                lambda results: paired.figure(results.tables["scores.csv"], results.main_score),
                lambda results: paired.alt(results.tables["scores.csv"], results.main_score),
                "Mean test score of each run at the checkpoint that validation chose.",
            ),
        ),
    ),
    Section(
        anchor="comparison",
        title="Differences and their intervals",
        shows="Differences with three intervals, named by what they generalise to: another "
        "training run, another patient, both. The band is the margin that was said to matter.",
        cannot="That no difference was found does not mean that there is none: look at the "
        "smallest effect these seeds could have shown. Only the claims above were asked "
        "beforehand; every other row is description.",
        needs=("comparison.csv",),
        command=_compare_command,
        drawings=(
            Drawing(
                "effects",
                "comparison.csv",
                _effects,
                lambda results: forest.alt(results.tables["comparison.csv"], results.main_score),
                "Differences in the test score, a − b. An interval inside the band is too small to "
                "matter; one that reaches beyond it may matter.",
            ),
        ),
        listing=lambda results: page_tables.comparison_listing(results.tables["comparison.csv"]),
    ),
    Section(
        anchor="ladder",
        title="The gain, step by step",
        shows="From the plain CNN to the frozen language-model layer, each arm has one thing more "
        "than the one before: the projections, a non-linearity, a decoder layer's architecture, "
        "the distribution of its weights, their pre-training. The steps add up to the whole gain. "
        "Below them, arms that are no step of it, each compared with the plain CNN.",
        cannot="The intervals are those of single comparisons, none of them adjusted: the claims "
        "decide, this describes. In another order the parts would share the gain differently.",
        needs=("ladder.csv",),
        command=lambda results: results.context.command or "llm4seg-probe sweep",
        drawings=(
            Drawing(
                "ladder",
                "ladder.csv",
                lambda results: ladder.figure(results.tables["ladder.csv"]),
                lambda results: ladder.alt(results.tables["ladder.csv"]),
                "A bar runs from the mean gain of one arm to that of the next; its line is the "
                "paired 95 % interval of the step over seeds.",
            ),
        ),
        listing=lambda results: ladder_listing(results.tables["ladder.csv"]),
    ),
    Section(
        anchor="sizes",
        title="By the number of training images",
        shows="Whether an arm gains more where there is little to learn from. Above, the mean "
        "score of each arm; below, its gain over the baseline, paired by seed. Images are drawn by "
        "the seed: all arms of a seed have the same ones, and fewer are among more. With equal "
        "epochs few images also mean few steps; with equal steps each is seen more often: two "
        "questions, two columns.",
        cannot="Whole patients are taken until the number asked for is reached, so that one size "
        "is not the same number in every seed. The intervals are those of single means and single "
        "differences: whether a gain is larger at one size than at another is a claim.",
        needs=("sizes.csv",),
        command=lambda results: results.context.command or "llm4seg-probe sweep",
        drawings=(
            Drawing(
                "sizes",
                "sizes.csv",
                lambda results: sizes_figure.figure(results.tables["sizes.csv"]),
                lambda results: sizes_figure.alt(results.tables["sizes.csv"]),
                "Lines join the means over seeds; the strokes are their 95 % intervals, of the "
                "gain the paired one. Arms of one size stand beside each other to be told apart. "
                "Under a number of images its range over seeds, where patients are whole.",
                wide=True,
            ),
        ),
        listing=lambda results: sizes_listing(results.tables["sizes.csv"]),
        by_design=True,
    ),
    Section(
        anchor="selection",
        title="Selection bias of the best epoch",
        shows="Picking the best epoch on the validation images inflates the validation score. By "
        "how much: (best − last epoch) on validation minus the same on test, run by run. Where two "
        "arms are reported in the same way, both are inflated, and only the difference between "
        "them can explain a gain.",
        cannot="A run whose last epoch was its best shows no optimism. Longer training on fewer "
        "validation images would show more than this scale does.",
        needs=("selection.csv",),
        command=lambda results: results.context.command or "llm4seg-probe sweep",
        listing=lambda results: selection_listing(results.tables["selection.csv"]),
    ),
    Section(
        anchor="cases",
        title="Case by case",
        shows="The same scores by test case: the distribution under each arm, and each case, those "
        "first on which the arms differ most.",
        cannot="With many cases some differ much by chance: the case at the top of the table "
        "was chosen by its difference.",
        needs=("scores.csv",),
        command=lambda _: "llm4seg-probe evaluate --ckpt run.pt --split test",
        drawings=(
            Drawing(
                "cases",
                "scores.csv",
                lambda results: cases.figure(results.tables["scores.csv"], results.main_score),
                lambda results: cases.alt(results.tables["scores.csv"], results.main_score),
                "A dot is a test case, its mean over seeds; the stroke is the median.",
            ),
        ),
        listing=lambda results: page_tables.case_listing(
            results.tables["scores.csv"], results.main_score
        ),
    ),
    Section(
        anchor="curves",
        title="Learning curves",
        shows="Scores and losses by epoch: whether training had ended, and whether the arms differ "
        "in how fast they learn. Thick lines are means over seeds, thin ones runs.",
        cannot="The validation images choose the epoch; a curve that still rises says that longer "
        "training may change the order of the arms.",
        needs=("curves.csv",),
        command=lambda results: results.context.command or "llm4seg-probe sweep",
        drawings=(
            Drawing(
                "learning-curves",
                "curves.csv",
                lambda results: curves.figure(results.tables["curves.csv"]),
                lambda results: curves.alt(results.tables["curves.csv"]),
                "Mean over the images of a run's validation or training side.",
            ),
        ),
    ),
    Section(
        anchor="maps",
        title="Gallery of activation maps",
        shows="Activation maps before and after the layer, with the "
        "outline of the mask. The images are evenly spaced through those stored, not chosen.",
        cannot="A few images of one seed illustrate; they are no evidence. Each map is scaled to "
        "its own range, so that brightness cannot be compared between maps.",
        needs=("maps.npz",),
        command=lambda _: "llm4seg-probe maps --ckpt 'runs/*/run.pt'",
        drawings=(
            Drawing(
                "gallery",
                "maps.npz",
                _gallery,
                _gallery_alt,
                "One seed, the lowest. Dark: least activation of a map; bright: most. Cyan: "
                "outline of the mask.",
                wide=True,
            ),
        ),
        part="cases",
    ),
    Section(
        anchor="rank",
        title="Effective rank of the features",
        shows=_RANK.shows,
        cannot=_RANK.limits,
        needs=("rank.csv",),
        command=lambda _: "llm4seg-probe rank --ckpt 'runs/*/run.pt'",
        drawings=(
            Drawing(
                "rank-densities",
                "rank.csv",
                lambda results: rank_figure.figure(results.tables["rank.csv"]),
                lambda results: rank_figure.alt(results.tables["rank.csv"]),
                "Violins: images of all seeds. Dots: runs. Bars and numbers: means over seeds. In "
                "the CNN both sites are the decoder's input.",
            ),
        ),
        listing=_rank_listing,
        part="probes",
    ),
    Section(
        anchor="activation",
        title="Activation maps against the masks",
        shows=_MAPS.shows,
        cannot=_MAPS.limits,
        needs=("maps.csv",),
        command=lambda _: "llm4seg-probe maps --ckpt 'runs/*/run.pt'",
        drawings=(
            Drawing(
                "activation-iou",
                "maps.csv",
                lambda results: maps_figure.figure(
                    results.tables["maps.csv"], results.tables.get("comparison.csv")
                ),
                lambda results: maps_figure.alt(results.tables["maps.csv"]),
                "Strokes: means over seeds; dots: runs. Right, where it was compared: the gain "
                "across the layer with its 95 % interval over seeds.",
            ),
        ),
        listing=_maps_listing,
        part="probes",
    ),
)
