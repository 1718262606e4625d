"""Replayed looks: the first boundary crossed decides and stands, in a family with Holm's p."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from llm4seg_probe.statistics.kinds import Evidence
from llm4seg_probe.statistics.looks import Design, levels
from llm4seg_probe.statistics.multiplicity import holm_at
from llm4seg_probe.statistics.sequential import (
    Decision,
    conjunction,
    decide,
    holm_level,
    repeated,
    replay,
    threshold,
    thresholds,
)
from llm4seg_probe.statistics.stopping import OUTCOMES, first_crossed, paths_of
from llm4seg_probe.statistics.verdict_sentences import (
    below_first,
    closed_looks,
    later_sentence,
    path_sentence,
)

DESIGN = Design((5, 10, 20, 40))
NAN = float("nan")


def scores(differences):
    b = np.random.default_rng(3).normal(0.6, 0.05, len(differences))
    return b + differences, b


def differences(effect, n, seed=0):
    return np.random.default_rng(seed).normal(effect, 1.0, n)


def test_each_look_is_the_t_test_of_its_seeds():
    a, b = scores(differences(0.3, 25))
    looks = replay(a, b, DESIGN)
    assert [look.n for look in looks] == [5, 10, 20]
    assert [look.number for look in looks] == [1, 2, 3]
    for look in looks:
        p = ttest_rel(a[: look.n], b[: look.n]).pvalue
        assert look.nominal.p == pytest.approx(p, rel=1e-10)
        assert look.attained.p == pytest.approx(
            float(levels(DESIGN).attained(look.number - 1, p)), rel=1e-10
        )
        constant = levels(DESIGN).thresholds(0.05)[0]
        wanted = ttest_rel(a[: look.n], b[: look.n]).confidence_interval(1 - constant)
        assert look.interval == pytest.approx(wanted, rel=1e-8)


def test_the_interval_leaves_zero_out_where_the_boundary_is_crossed():
    for seed in range(40):
        for look in replay(*scores(differences(0.8, 40, seed)), DESIGN):
            low, high = look.interval
            assert (low > 0 or high < 0) == (look.attained.p < 0.05)


def test_a_look_that_cannot_stop_has_no_interval():
    design = Design((5, 10, 20, 40, 80, 160, 320), spending="obrien-fleming")
    (look,) = replay(*scores(differences(5, 5)), design)
    assert look.interval == (-np.inf, np.inf)
    assert look.attained.p == 1.0


def test_the_first_boundary_crossed_stands():
    strong = np.append(differences(3.0, 10), differences(-1.0, 30, 1))
    looks = replay(*scores(strong), DESIGN)
    (decision,) = decide([repeated(looks)])
    assert (decision.look, decision.verdict) == (1, "supported")
    assert looks[-1].nominal.p > 0.05  # the last look alone would say nothing
    assert decision.p_adjusted == looks[0].attained.p


def test_later_seeds_change_nothing_of_a_decision():
    values = differences(1.0, 40)
    whole = decide([repeated(replay(*scores(values), DESIGN))])[0]
    assert whole.decided
    reached = DESIGN.looks[whole.look - 1]
    for n in (reached, 40):
        a, b = scores(values)
        assert decide([repeated(replay(a[:n], b[:n], DESIGN))])[0] == whole


def test_p_adjusted_is_the_smallest_level_so_far():
    values = np.append(differences(1.0, 5), differences(0.0, 15, 1))
    looks = replay(*scores(values), DESIGN)
    p = [each.p for each in repeated(looks)]
    assert p == list(np.minimum.accumulate([look.attained.p for look in looks]))


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
@pytest.mark.parametrize("kind", ["superiority", "non-inferiority", "equivalence"])
@pytest.mark.parametrize("effect", [0.0, 0.7, -0.7])
def test_one_claim_decides_as_the_simulated_studies_do(kind, effect, spending):
    design = Design((5, 10, 20, 40), spending=spending)
    values = np.random.default_rng(8).normal(effect, 1.0, (40, 40))
    crossed = first_crossed(paths_of(values, design.looks), design, kind=kind, margin=0.9)
    for study, look, outcome in zip(values, *crossed, strict=True):
        looks = replay(*scores(study), design, kind=kind, margin=0.9)
        (decision,) = decide([repeated(looks)])
        assert decision.verdict == ([*OUTCOMES, "inconclusive"])[outcome]
        assert decision.look == min(look + 1, 4)
        nominal = looks[decision.look - 1].nominal
        if decision.decided:
            p = {
                "supported": nominal.supports,
                "contradicted": nominal.opposes,
                "equivalent": nominal.within_margin,
            }[decision.verdict]
            assert p < threshold(design, kind, decision)


def test_lower_is_better_turns_the_verdict():
    a, b = scores(differences(2.0, 40))
    (up,) = decide([repeated(replay(a, b, DESIGN))])
    (down,) = decide([repeated(replay(a, b, DESIGN, lower_is_better=True))])
    assert (up.verdict, down.verdict) == ("supported", "contradicted")
    assert (up.look, up.p_adjusted) == (down.look, down.p_adjusted)


def evidence(p, upward=True, within=1.0):
    return Evidence(p, p if upward else 1.0, 1.0 if upward else p, p / 2, within)


def test_a_family_follows_holm_at_every_look():
    first = [evidence(0.03), evidence(0.02)]
    second = [evidence(0.5), evidence(0.5), evidence(0.01)]
    one, two = decide([first, second])
    # 0.03 is above 0.025 at the first look, 0.02 below it at the second, and then 0.05 is left.
    assert (one.look, one.verdict, one.p_adjusted) == (2, "supported", 0.02)
    assert (two.look, two.verdict, two.p_adjusted) == (3, "supported", 0.02)
    assert (one.level, two.level) == (0.05, 0.05)


def test_a_rejection_frees_its_level_for_claims_whose_looks_are_over():
    one, two = decide([[evidence(0.04)], [evidence(0.3), evidence(0.001)]])
    assert (one.look, one.verdict, one.p_adjusted) == (1, "supported", 0.04)
    assert (two.look, two.verdict) == (2, "supported")


def test_a_claim_that_was_not_tested_stays_in_the_family():
    one, two = decide([[evidence(0.03)], []])
    assert (one.verdict, one.p_adjusted) == ("inconclusive", 0.06)
    assert (two.verdict, two.look) == ("not run", 0)
    assert np.isnan(two.p_adjusted)
    assert one.level == 0.025


def test_equivalence_ends_a_claim_of_superiority():
    (decision,) = decide([[evidence(0.4, within=0.04), evidence(0.001, within=0.01)]])
    assert (decision.look, decision.verdict, decision.p_adjusted) == (1, "equivalent", 0.4)


def test_a_margin_that_is_none_says_nothing_of_equivalence():
    looks = replay(*scores(differences(0.0, 40)), DESIGN)
    assert all(np.isnan(look.attained.within_margin) for look in looks)
    assert decide([repeated(looks)])[0].verdict == "inconclusive"


def test_a_conjunction_keeps_what_each_comparison_showed():
    early = repeated(replay(*scores(np.append(differences(4, 5), differences(0, 35))), DESIGN))
    late = repeated(replay(*scores(differences(0.9, 40, 4)), DESIGN))
    looks = [decide([each])[0].look for each in (early, late)]
    assert looks[0] < looks[1]
    (both,) = decide([conjunction([early, late])])
    assert (both.look, both.verdict) == (looks[1], "supported")


def test_any_comparison_contradicts_a_conjunction_at_its_share():
    up, down = [evidence(0.001)], [evidence(0.02, upward=False)]
    (found,) = conjunction([up, down])
    assert (found.supports, found.opposes, found.p) == (1.0, 0.04, 0.04)
    assert decide([[found]])[0].verdict == "contradicted"
    (weak,) = conjunction([up, [evidence(0.03, upward=False)]])
    assert decide([[weak]])[0].verdict == "inconclusive"


def test_a_conjunction_goes_as_far_as_all_of_it():
    assert len(conjunction([[evidence(0.5)] * 3, [evidence(0.5)]])) == 1
    assert conjunction([[evidence(0.5)], []]) == ()


def test_differences_without_spread_have_the_exact_test():
    b = np.linspace(0.5, 0.6, 10)
    looks = replay(b + 0.5, b, DESIGN)
    assert [look.nominal.p for look in looks] == [2 / 2**5, 2 / 2**10]
    (decision,) = decide([repeated(looks)])
    assert (decision.look, decision.verdict) == (2, "supported")


def test_every_test_has_its_own_threshold():
    two, one = (levels(DESIGN, sides).thresholds(0.025)[1] for sides in (2, 1))
    within = levels(DESIGN, 1).thresholds(0.05)[1]
    wanted = {
        "superiority": (two, two, within),
        "non-inferiority": (one, one, within),
        "equivalence": (one, two, within),
    }
    for kind, expected in wanted.items():
        assert thresholds(DESIGN, kind, 2, 0.025) == expected


def test_holm_level_is_where_holm_rejects():
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = list(rng.uniform(0, 0.08, 4))
        level = holm_level(p, 0, 0.05)
        for own, rejected in ((level * 0.999, True), (level * 1.001, False)):
            assert (holm_at(p, 0, own) < 0.05) == rejected


SEVEN = Design((5, 10, 20, 40, 80, 160, 320))


@pytest.mark.parametrize(
    ("decision", "n", "later", "told"),
    [
        (
            Decision(2, "supported", 0.01, 0.05), 10, "",
            "decided at look 2 of 7 (10 seeds), boundary p < 0.0089",
        ),
        (
            Decision(2, "supported", 0.01, 0.05), 23,
            later_sentence(0.0123, 0.034, 0.0089, 23),
            "decided at look 2 of 7 (10 seeds), boundary p < 0.0089; 13 more seeds came after it "
            "and decide nothing (overrun): over all 23 the difference is +0.0123, p = 0.034, "
            "which alone would not cross it",
        ),
        (
            Decision(2, "supported", 0.01, 0.05), 11, later_sentence(0.5, 0.001, 0.0089, 11),
            "decided at look 2 of 7 (10 seeds), boundary p < 0.0089; one more seed came after it "
            "and decides nothing (overrun): over all 11 the difference is +0.5, p = 0.001, "
            "which would still cross it",
        ),
        (
            Decision(1, "equivalent", 0.4, 0.05), 5, "",
            "decided at look 1 of 7 (5 seeds), boundary p of equivalence < 0.0096",
        ),
        (
            Decision(2, "inconclusive", 0.4, 0.05), 13, "",
            "at look 2 of 7 (10 seeds) the boundary p < 0.0089 is not crossed; 3 more seeds "
            "between two looks are not counted; the next look is at 20",
        ),
        (
            Decision(7, "inconclusive", 0.4, 0.025), 321, "",
            "at look 7 of 7 (320 seeds) the boundary p < 0.0043 is not crossed; one more seed "
            "after the last look is not counted; there is no further look",
        ),
        (
            Decision(0, "not run", NAN, 0.05), 4, "", "4 seeds, and the first look is at 5",
        ),
    ],
)  # fmt: skip
def test_sentences_of_the_path(decision, n, later, told):
    boundary = threshold(SEVEN, "superiority", decision)
    assert path_sentence(SEVEN, decision, boundary, n, later) == told


def test_sentences_of_looks_that_cannot_stop():
    design = Design(SEVEN.looks, spending="obrien-fleming")
    assert closed_looks(design) == (
        "the looks at 5, 10, 20 and 40 seeds cannot stop a study: obrien-fleming spending gives "
        "each less than 1e-06 of the error rate"
    )
    assert closed_looks(Design((5, 10, 20, 40), spending="obrien-fleming")) == (
        "the look at 5 seeds cannot stop a study: obrien-fleming spending gives it less than "
        "1e-06 of the error rate"
    )
    assert closed_looks(SEVEN) == ""
    decision = Decision(1, "inconclusive", 1.0, 0.05)
    assert path_sentence(design, decision, threshold(design, "superiority", decision), 5) == (
        "at look 1 of 7 (5 seeds) nothing can stop; the next look is at 10"
    )
    assert below_first(SEVEN, 1) == "one seed, and the first look is at 5"
