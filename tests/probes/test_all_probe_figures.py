"""Every figure of a probe: nothing at its edge, no text on another, and differences called so."""

from __future__ import annotations

import pandas as pd
import pytest
from figure_checks import edges_with_ink, texts_on_one_another
from test_attention import drawn_arrays as attention_arrays
from test_attention import drawn_table as attention_table
from test_attribute import attribute_arrays, attribute_table
from test_attribute_randomised import randomised_rows
from test_calibration import drawn_bins
from test_decode_figures import decode_rows
from test_denoise import drawn_tables as denoise_tables
from test_field import field_arrays
from test_lens import distance_rows, word_rows
from test_robustness import drawn_table as robustness_table
from test_similarity import drawn_table as similarity_table

from llm4seg_probe.drawing.style import ARM_STYLES
from llm4seg_probe.probes.attention import figure as attention
from llm4seg_probe.probes.attribute import figure as attribute
from llm4seg_probe.probes.calibration import figure as calibration
from llm4seg_probe.probes.decode import figure as decode
from llm4seg_probe.probes.denoise import figure as denoise
from llm4seg_probe.probes.field import figure as field
from llm4seg_probe.probes.intervene import figure as intervene
from llm4seg_probe.probes.lens import figure as lens
from llm4seg_probe.probes.robustness import figure as robustness
from llm4seg_probe.probes.similarity import figure as similarity
from llm4seg_probe.probes.swap import figure as swap

ALL_ARMS = [str(arm) for arm in ARM_STYLES]


def effects(columns: dict[str, list[str]]) -> pd.DataFrame:
    """Changes under interventions or swaps, one interval far beyond the others."""
    rows = pd.DataFrame([{}]).assign(key=0)
    for name, values in columns.items():
        rows = rows.merge(pd.DataFrame({name: values}), how="cross")
    change = [-0.05 * (index % 4) for index in range(len(rows))]
    rows = rows.assign(change=change, score="iou", case_low=float("nan"), case_high=float("nan"))
    reach = [0.02 if index else 1.5 for index in range(len(rows))]
    return rows.assign(ci_low=rows["change"] - reach, ci_high=rows["change"] + reach, gap=0.02)


ARMS = ["cnn", "llm", "random-frozen"]
INTERVENTIONS = ["bypass", "other-seed-weights", "position"]
FIGURES = {
    "attention": lambda: attention.figure(attention_table()),
    "attention-all": lambda: attention.figure(attention_table(ALL_ARMS)),
    "attention-maps": lambda: attention.maps_figure(attention_arrays(), 0),
    "attribute": lambda: attribute.figure(attribute_table()),
    "attribute-maps": lambda: attribute.maps_figure(attribute_arrays()),
    "attribute-randomised": lambda: attribute.randomised_figure(randomised_rows()),
    "calibration": lambda: calibration.figure(drawn_bins()),
    "calibration-all": lambda: calibration.figure(drawn_bins(ALL_ARMS)),
    "decode": lambda: decode.figure(decode_rows()),
    "decode-images": lambda: decode.curves(decode_rows()),
    "denoise": lambda: denoise.figure(denoise_tables(ALL_ARMS)["denoise.csv"]),
    "denoise-directions": lambda: denoise.directions_figure(
        denoise_tables(ALL_ARMS)["denoise-directions.csv"]
    ),
    "denoise-gain": lambda: denoise.gain_figure(
        denoise_tables(ALL_ARMS, ("gaussian", "rician"))["denoise.csv"]
    ),
    "field": lambda: field.figure(field_arrays()),
    "intervene": lambda: intervene.figure(
        effects({"arm": ARMS, "intervention": INTERVENTIONS, "setting": ["axial-rope"]})
    ),
    "lens": lambda: lens.figure(distance_rows()),
    "lens-words": lambda: lens.words_figure(word_rows()),
    "robustness": lambda: robustness.figure(robustness_table()),
    "similarity": lambda: similarity.figure(similarity_table()),
    "similarity-all": lambda: similarity.figure(similarity_table(ALL_ARMS)),
    "similarity-sites": lambda: similarity.sites_figure(similarity_table()),
    "swap": lambda: swap.figure(
        effects(
            {"arm": ARMS[:2], "site": ["before", "after"], "donor": ["llm", "other-seed", "mean"]}
        )
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_blank_edge_and_no_text_on_another(name, tmp_path):
    figure = FIGURES[name]()
    assert edges_with_ink(figure, tmp_path) == []
    assert texts_on_one_another(figure) == []


@pytest.mark.parametrize("name", ["denoise-gain", "intervene", "swap"])
def test_an_axis_of_differences_says_so(name):
    negative = [axes for axes in FIGURES[name]().axes if axes.get_xlim()[0] < 0]
    assert any("(difference" in axes.get_xlabel() for axes in negative)
