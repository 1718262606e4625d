"""Declared looks: thresholds by level, levels by p, the tables' places, and what is refused."""

import json
from importlib.resources import files

import numpy as np
import pytest
from scipy.special import ndtri

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics import looks as module
from llm4seg_probe.statistics.boundaries import NullPath
from llm4seg_probe.statistics.looks import Design, levels, parse_looks, table_key, tabulate

SEVEN = (5, 10, 20, 40, 80, 160, 320)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    module._levels.cache_clear()
    yield tmp_path
    module._levels.cache_clear()


@pytest.mark.parametrize(
    ("looks", "level", "constant"),
    [(SEVEN, 0.05, 0.00895), (SEVEN, 0.025, 0.00425), (SEVEN[:4], 0.05, 0.01508)],
)
def test_one_constant_at_every_look(looks, level, constant):
    found = levels(Design(looks)).thresholds(level)
    assert found == pytest.approx((constant,) * len(looks), rel=1e-3)


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("level", [0.05, 0.025, 0.01, 0.001])
def test_thresholds_use_up_their_level(spending, sides, level):
    design = Design((5, 10, 20, 40), spending=spending)
    thresholds = levels(design, sides).thresholds(level)
    assert NullPath(design.looks).exits(thresholds, sides).sum() == pytest.approx(level, rel=1e-3)


def test_lan_and_demets_spending_gives_the_published_boundaries():
    # gsDesign(k = 5, test.type = 1, alpha = 0.025, sfu = sfLDOF)$upper$bound
    published = (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)
    design = Design(tuple(20_000 * k for k in range(1, 6)), 0.025, "obrien-fleming")
    found = -ndtri(levels(design, 1).thresholds(0.025)[1:])
    assert found == pytest.approx(published[1:], abs=1e-3)


def test_a_look_that_spends_next_to_nothing_cannot_stop():
    design = Design(SEVEN, spending="obrien-fleming")
    assert design.can_stop == (False,) * 4 + (True,) * 3
    assert levels(design).thresholds(0.05)[:4] == (0.0,) * 4
    assert levels(design).attained(0, 1e-12) == 1.0
    assert Design(SEVEN).can_stop == (True,) * 7


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
def test_a_level_is_attained_at_its_own_threshold(spending):
    table = levels(Design((5, 10, 20), spending=spending))
    for level in (0.3, 0.05, 0.0125, 1e-4):
        for look, threshold in enumerate(table.thresholds(level)):
            assert table.attained(look, threshold) == pytest.approx(level, rel=1e-9)


def test_attained_levels_grow_with_p_up_to_one():
    table = levels(Design(SEVEN))
    p = np.append(np.geomspace(1e-30, 1, 300), np.nan)
    found = table.attained(3, p)
    assert (np.diff(found[:-1]) >= 0).all()
    assert found[-2] == 1.0
    assert np.isnan(found[-1])
    assert (found[:-1] >= p[:-1]).all()
    assert (found[:-1] <= 7 * p[:-1]).sum() > 250  # seven looks cost at most seven times as much


def test_one_look_is_the_ordinary_test():
    for spending in ("pocock", "obrien-fleming"):
        table = levels(Design((8,), spending=spending))
        assert table.attained(0, [0.5, 0.05, 1e-4]) == pytest.approx([0.5, 0.05, 1e-4], rel=1e-4)


@pytest.mark.parametrize("spending", ["pocock", "obrien-fleming"])
def test_undeclared_looks_spend_what_was_to_be_spent_by_then(spending):
    design = Design((5, 10, 20, 40), spending=spending)
    taken = (7, 20, 33, 40)
    found = levels(design, taken=taken).thresholds(0.05)
    assert NullPath(taken).exits(found, 2).sum() == pytest.approx(0.05, rel=2e-3)
    declared = NullPath(design.looks).exits(levels(design).thresholds(0.05), 2)
    spent = NullPath(taken[:2]).exits(found[:2], 2).sum()
    assert spent == pytest.approx(declared[:3].sum(), rel=2e-3)
    short = levels(design, taken=(5, 10)).thresholds(0.05)
    assert short == pytest.approx(levels(design).thresholds(0.05)[:2], rel=1e-3)


def test_committed_tables_are_what_is_computed():
    stored = json.loads(files("llm4seg_probe.statistics").joinpath("thresholds.json").read_text())
    assert all(key.startswith(f"{module.VERSION} ") for key in stored)
    for spending in ("pocock", "obrien-fleming"):
        design = Design((5, 10, 20), spending=spending)
        key = table_key(design.looks, spending, 2, design.can_stop)
        ours = tabulate(design.looks, spending, 2, design.can_stop)
        assert np.array(stored[key]) == pytest.approx(ours, rel=1e-6, abs=1e-15)


def test_other_designs_are_kept_in_the_cache(own_cache, monkeypatch):
    first = levels(Design((6, 11))).thresholds(0.05)
    (kept,) = (own_cache / "thresholds").glob("*.json")
    module._levels.cache_clear()
    monkeypatch.setattr(module, "tabulate", None)
    assert levels(Design((6, 11))).thresholds(0.05) == first
    monkeypatch.undo()
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(own_cache))
    for broken in ("{", '{"key": "another", "values": [1, 2]}', '{"key": 1}', "[]"):
        kept.write_text(broken)
        module._levels.cache_clear()
        assert levels(Design((6, 11))).thresholds(0.05) == first


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "file"))
    assert len(levels(Design((6, 12))).thresholds(0.05)) == 2


@pytest.mark.parametrize(
    ("looks", "message"),
    [
        ((), "looks: name at least one number of seeds, such as 5,10,20"),
        ((5, 5), "looks must grow, but 5 comes after 5: write them as 5,10,20"),
        ((10, 5), "looks must grow, but 5 comes after 10: write them as 5,10,20"),
        ((1, 5), "looks: 1 is no number of seeds from 2 on"),
        ((5, 7.5), r"looks: 7\.5 is no number of seeds from 2 on"),
        ((True, 5), "looks: True is no number of seeds from 2 on"),
        (tuple(range(2, 60)), "looks: 58 are too many, give at most 50"),
    ],
)
def test_looks_that_are_refused(looks, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        Design(looks)


def test_rules_that_are_refused():
    with pytest.raises(ConfigError, match=r"^alpha is 0\.7: give a number between 0 and 0\.5$"):
        Design((5,), alpha=0.7)
    with pytest.raises(ConfigError, match=r"^unknown spending 'pocok'\. Did you mean 'pocock'"):
        Design((5,), spending="pocok")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "looks: there is none. Write numbers of seeds between commas, such as 5,10,20"),
        ("5,x", "looks: 'x' is no number of seeds. Write numbers of seeds between commas"),
        ("5,-3", "looks: '-3' is no number of seeds"),
        ("5,1e2", "looks: '1e2' is no number of seeds"),
        ("20,10", "looks must grow, but 10 comes after 20"),
    ],
)
def test_text_that_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_looks(text)


def test_seeds_reach_looks():
    design = Design((5, 10, 20))
    assert [design.reached(n) for n in (4, 5, 9, 10, 19, 20, 99)] == [0, 1, 1, 2, 2, 3, 3]
