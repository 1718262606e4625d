"""Claims that are written wrongly, or lack rows: every message says where."""

import pandas as pd
import pytest
from stated import claim

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.judgement import judge


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"score": "ious"},
            "demo.yaml: score: unknown score 'ious'. Did you mean 'iou'? Valid: iou, dice, "
            "precision, recall, hd95, nsd, area, iou_reference, ece, brier, image_auroc, "
            "image_balanced_accuracy, image_f1, image_brier, image_ece, object_sensitivity, "
            "object_froc, probability, present, objects",
        ),
        (
            {"table": "rank"},
            "demo.yaml: score: unknown score 'iou'. Valid: tokens, channels, entropy, "
            "effective_rank, lsvr, sigma1_share, stable_rank, participation_ratio, "
            "largest_token_share",
        ),
        (
            {"kind": "superior"},
            "demo.yaml: kind: unknown value 'superior'. Did you mean 'superiority'? Valid: "
            "superiority, non-inferiority, equivalence",
        ),
        (
            {"comparisons": [{"a": "llm @after", "b": "cnn"}]},
            "demo.yaml: comparisons.0.a: 'llm @after' is not a condition: write an arm, as in "
            "llm, llm[layer=10], llm@after, or llm@after - llm@before (it is 'llm @after')",
        ),
        ({"margin": 0}, "demo.yaml: margin: Input should be greater than 0 (it is 0)"),
        (
            {"marginn": 1},
            "demo.yaml: marginn: unknown field 'marginn'. Did you mean 'margin'? Valid: margin, "
            "comparisons, id, statement, family, in_advance, table, score, where, average_over, "
            "kind, lower_is_better",
        ),
        (
            {"comparisons": []},
            "demo.yaml: comparisons: name at least one, such as {a: llm, b: cnn}",
        ),
    ],
)
def test_a_claim_that_is_written_wrongly_says_where(fields, message):
    with pytest.raises(ConfigError) as refusal:
        claim(**fields)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"where": {"split": "tets"}},
            "claim 'boost': unknown value of split 'tets'. Did you mean 'test'? Valid: test",
        ),
        (
            {"where": {"splitt": "test"}},
            "claim 'boost': unknown column 'splitt'. Did you mean 'split'? Valid: split, run, "
            "dataset, arm, seed, image, group, checkpoint, iou",
        ),
        (
            {"comparisons": [{"a": "llm[split=val]", "b": "cnn"}]},
            "claim 'boost': unknown value of split 'val'. Valid: test",
        ),
    ],
)
def test_a_filter_that_fits_nothing_names_the_claim(scores, fields, message):
    with pytest.raises(ConfigError) as refusal:
        judge([claim(**fields)], {"scores": scores})
    assert str(refusal.value) == message


def test_missing_partners_name_the_claim_and_can_be_left_out(scores):
    lacking = scores[~((scores["arm"] == "llm") & (scores["seed"] == 2))]
    with pytest.raises(TableError) as refusal:
        judge([claim()], {"scores": lacking})
    assert str(refusal.value) == (
        "claim 'boost': llm against cnn: seeds 2 of cnn have no partner. Run them, or leave them "
        "out with drop_unpaired (--drop-unpaired)"
    )
    _, claims = judge([claim()], {"scores": lacking}, drop_unpaired=True)
    assert claims["n_seeds"][0] == 4
    assert claims["note"][0] == "left out: seeds 2 of cnn have no partner"


def test_several_data_sets_must_be_told_apart(scores):
    both = pd.concat([scores, scores.assign(dataset="phantoms")])
    with pytest.raises(ConfigError) as refusal:
        judge([claim()], {"scores": both})
    assert str(refusal.value) == (
        "claim 'boost': llm was measured on several data sets (spine, phantoms): name one, as in "
        "llm[dataset=spine]"
    )
    comparison, _ = judge([claim(where={"dataset": "phantoms"})], {"scores": both})
    assert comparison["dataset"][0] == "phantoms"


def test_an_arm_that_was_measured_elsewhere_is_not_run(scores):
    held = scores.copy()
    held.loc[held["arm"] == "llm", "split"] = "val"
    _, claims = judge([claim(where={"split": "test"})], {"scores": held})
    assert claims["reason"][0] == "no rows of llm with split=test, checkpoint=best"


def test_two_claims_cannot_share_an_id_or_a_comparison(scores):
    with pytest.raises(ConfigError, match=r"^two claims have the id 'boost'$"):
        judge([claim(), claim()], {"scores": scores})
    with pytest.raises(ConfigError) as refusal:
        judge([claim(), claim(id="other")], {"scores": scores})
    assert str(refusal.value) == (
        "claims 'boost' and 'other' both compare iou of llm and cnn: write what differs into the "
        "conditions, such as llm[part=foreground]"
    )
