"""The page's sections in their order: what each asks, shows and cannot show, and what it draws.

A new probe enters the page with one more row of SECTIONS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from llm4seg_probe.reporting import alts, listings
from llm4seg_probe.reporting.figures import activation, densities, forest, gallery, ladder, paired
from llm4seg_probe.reporting.gains import ladder_listing, selection_listing
from llm4seg_probe.reporting.listings import Listing
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.reporting.summaries import compared, one_kind_of_map


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
    """A section of the page. It was not run where one of the files it ``needs`` is not there."""

    anchor: str
    title: str
    shows: str
    cannot: str
    needs: tuple[str, ...]
    command: Callable[[Results], str]
    drawings: tuple[Drawing, ...] = ()
    listing: Callable[[Results], Listing] | None = None

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
    return None if arrays is None else gallery.figure(arrays, arrays.first_seed)


def _rank_listing(results: Results) -> Listing:
    values = ("effective_rank", "lsvr", "stable_rank", "participation_ratio")
    return listings.site_listing(
        results.tables["rank.csv"],
        "rank",
        (*values, "largest_token_share"),
        "Rank measures by arm and site, mean over images and seeds",
    )


def _maps_listing(results: Results) -> Listing:
    chosen = one_kind_of_map(results.tables["maps.csv"])
    kind = f"{chosen['reduction'].iloc[0]}, threshold {chosen['threshold'].iloc[0]}"
    return listings.site_listing(
        chosen,
        "maps",
        ("iou", "auroc", "contrast", "noise", "sharpness"),
        f"Activation maps against the masks by arm and site ({kind}), mean over images and seeds",
    )


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
                alts.paired,
                "Mean test score of each run at the checkpoint that validation chose.",
            ),
        ),
    ),
    Section(
        anchor="comparison",
        title="How large, and how sure",
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
                alts.forest,
                "Differences in the test score, a − b. An interval inside the band is too small to "
                "matter; one that reaches beyond it may matter.",
            ),
        ),
        listing=lambda results: listings.comparison_listing(results.tables["comparison.csv"]),
    ),
    Section(
        anchor="ladder",
        title="The gain, taken apart",
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
        anchor="selection",
        title="What choosing the epoch flatters",
        shows="What the choice of the best epoch gains on the images that chose it, beyond what it "
        "gains on others: validation best minus last, less test best minus last, run by run. "
        "Where two arms are reported in the same way, both are flattered, and only the "
        "difference between them can explain a gain.",
        cannot="A run whose last epoch was its best shows no optimism. Longer training on fewer "
        "validation images would show more than this scale does.",
        needs=("selection.csv",),
        command=lambda results: results.context.command or "llm4seg-probe sweep",
        listing=lambda results: selection_listing(results.tables["selection.csv"]),
    ),
    Section(
        anchor="cases",
        title="Case by case",
        shows="The same scores by test case, those first on which the arms differ most.",
        cannot="With many cases some differ much by chance: the case at the top of the table "
        "was chosen by its difference.",
        needs=("scores.csv",),
        command=lambda _: "llm4seg-probe evaluate --ckpt run.pt --split test",
        listing=lambda results: listings.case_listing(
            results.tables["scores.csv"], results.main_score
        ),
    ),
    Section(
        anchor="maps",
        title="What the maps look like",
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
                alts.gallery,
                "Dark: least activation of a map; bright: most. Cyan: outline of the mask.",
                wide=True,
            ),
        ),
    ),
    Section(
        anchor="rank",
        title="How many directions the features use",
        shows="Effective rank, exp of the entropy of the singular values' shares, and LSVR, −ln "
        "of the largest share, of the tokens of each image. Bands show what the same measure "
        "gives where nothing was learned: the scale without which the numbers say little.",
        cannot="A higher rank is not a better segmentation: Gaussian tokens have the highest of "
        "all. Whether rank matters takes an intervention, not a density.",
        needs=("rank.csv",),
        command=lambda _: "llm4seg-probe rank --ckpt 'runs/*/run.pt'",
        drawings=(
            Drawing(
                "rank-densities",
                "rank.csv",
                lambda results: densities.figure(results.tables["rank.csv"]),
                alts.densities,
                "Ridges: images of all seeds. Small marks: runs. Bars and numbers: means over "
                "seeds. In the CNN both sites are the decoder's input.",
            ),
        ),
        listing=_rank_listing,
    ),
    Section(
        anchor="activation",
        title="Do the maps find the foreground",
        shows="Overlap of the thresholded activation map with the mask, before and after the "
        "layer; the box is what another image's map gives.",
        cannot="Reduction and threshold are choices, and another choice gives another number. "
        "Where the foreground sits in the same place in every image, a map can overlap it "
        "without having seen it: hence the box.",
        needs=("maps.csv",),
        command=lambda _: "llm4seg-probe maps --ckpt 'runs/*/run.pt'",
        drawings=(
            Drawing(
                "activation-iou",
                "maps.csv",
                lambda results: activation.figure(
                    results.tables["maps.csv"], results.tables.get("comparison.csv")
                ),
                alts.activation,
                "Bars: means over seeds; circles: runs. Right, where it was compared: the gain "
                "across the layer with its 95 % interval over seeds.",
            ),
        ),
        listing=_maps_listing,
    ),
)
