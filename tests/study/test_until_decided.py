"""Studies that go on until they are decided; a stand-in makes the runs, and writes real scores."""

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import studies
from omegaconf import OmegaConf
from typer.testing import CliRunner

import llm4seg_probe as lp
from llm4seg_probe import storage, tables
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, to_yaml
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.looks import Design
from llm4seg_probe.statistics.stopping import Start, outlook
from llm4seg_probe.study.analysis import Analysis, load_analysis
from llm4seg_probe.study.decided_answer import forecast_until_decided
from llm4seg_probe.study.pipeline import beside, compared
from llm4seg_probe.study.score_store import ScoreStore
from llm4seg_probe.study.study_state import State
from llm4seg_probe.study.until_decided import Budget, stored_tables, until_decided

GAINS = {"cnn": 0.0, "mlp": 0.03, "adapters": 0.003}
"""Mean IoU of each arm above the CNN's; the SD of a difference is 0.014."""
IMAGES = ("a", "b", "c")


def write_run(path: Path, config: Config, gains=GAINS, kernels="AVX2") -> None:
    """What a run leaves of its scores, drawn from its arm and seed."""
    seed = np.random.default_rng(config.seed).normal(0.6, 0.03)
    own = np.random.default_rng([config.seed, *config.arm.encode()])
    iou = seed + own.normal(gains[config.arm], 0.01)
    keys = {"run": path.name, "dataset": "toys", "arm": config.arm, "seed": config.seed}
    rows = [
        {**keys, "checkpoint": checkpoint, "split": "test", "image": image, "group": image,
         "class": "foreground", "iou": iou + shift, "empty": ""}
        for checkpoint in ("best", "last")
        for image, shift in zip(IMAGES, (-0.1, 0.0, 0.1), strict=True)
    ]  # fmt: skip
    tables.write_table(studies.filled(rows, tables.SCORES), path / "scores.csv", tables.SCORES)
    made = {
        **studies.MADE, "processor": "Toy CPU", "kernels": kernels, "wall_seconds": 360.0,
        "commit": "0" * 40,
    }  # fmt: skip
    storage.write_text(path / "config.yaml", to_yaml(config))
    storage.write_json(path / "environment.json", made)
    for name in ("split.json", "run.pt", "metrics.csv"):
        storage.write_text(path / name, "")  # a run counts as done where these lie
    storage.write_json(path / "probes.json", {"sites": ["before", "after"], "gallery": 200})


@dataclass
class StandIn:
    """An engine that writes what a run leaves; ``kill_after`` runs this process is gone."""

    gains: dict[str, float] = field(default_factory=lambda: GAINS)
    kernels: str = "AVX2"
    kill_after: int | None = None
    made: list[str] = field(default_factory=list)

    def attempt(self, tasks, meter):
        for task in tasks:
            if len(self.made) == self.kill_after:
                os._exit(9)
            write_run(task.planned.path, task.planned.config, self.gains, self.kernels)
            self.made.append(task.name)
            meter.update()
        return {}


def claim(name, *pairs, margin=0.005, **further):
    return {
        "id": name, "statement": name, "margin": margin,
        "where": {"split": "test", "checkpoint": "best"},
        "comparisons": [{"a": a, "b": b} for a, b in pairs], **further,
    }  # fmt: skip


@pytest.fixture
def content(tiny_config):
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    return {
        "name": "toys", "title": "Toys", "question": "?", "rests_on": "Little.", "base": base,
        "factors": {"arm": list(GAINS), "seed": [0, 1, 2]},
        "claims": [
            claim("boost", ("mlp", "cnn")), claim("small", ("adapters", "cnn"), margin=0.012),
        ],
        "decide": {"looks": [5, 10, 20]},
    }  # fmt: skip


@pytest.fixture
def analysis(content):
    return Analysis.model_validate(content)


def run(analysis, out, engine=None, **options):
    return until_decided(analysis, out, out / "runs", engine=engine or StandIn(), **options)


def verdicts(course):
    return {
        name: (path.decision.verdict, path.decision.look, path.decision.p_adjusted)
        for name, path in course.paths.items()
    }


def seeds_by_arm(course):
    found = {}
    for one in course.store.runs.values():
        found.setdefault(one.arm, set()).add(one.seed)
    return {arm: len(seeds) for arm, seeds in found.items()}


def test_arms_that_no_open_claim_needs_are_not_run_on(analysis, tmp_path):
    course = run(analysis, tmp_path)
    found = verdicts(course)
    assert found["boost"][:2] == ("supported", 1)
    assert found["small"][:2] == ("inconclusive", 3)
    assert seeds_by_arm(course) == {"mlp": 5, "cnn": 20, "adapters": 20}
    assert course.decided == ("boost",)
    assert course.still_open == ("small",)
    assert "it was the last look" in course.sentence
    assert "looked at after 5, 10, 20 (declared before the first run; pocock)" in course.sentence


def test_it_stops_when_all_is_decided(content, tmp_path):
    content["claims"] = content["claims"][:1]
    engine = StandIn()
    course = run(Analysis.model_validate(content), tmp_path, engine)
    assert course.reason == "all claims are decided"
    assert course.state.look == 1
    assert len(engine.made) == 15  # the page shows every arm at the first look
    again = StandIn()
    assert verdicts(run(Analysis.model_validate(content), tmp_path, again)) == verdicts(course)
    assert again.made == []


@pytest.mark.parametrize(
    "moment",
    [
        "first look",
        pytest.param("unjudged", marks=pytest.mark.slow),
        pytest.param("second look", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_moment_it_comes_to_the_same(analysis, tmp_path, moment):
    whole = run(analysis, tmp_path / "whole")
    out = tmp_path / "killed"
    child = os.fork()
    if child == 0:
        if moment == "unjudged":
            write = State.write

            def die(state, folder):
                os._exit(9) if state.look else write(state, folder)

            State.write = die
        run(analysis, out, StandIn(kill_after={"first look": 7, "second look": 18}.get(moment)))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    seen = json.loads((out / "until-decided.json").read_text())["look"]
    assert seen == (1 if moment == "second look" else 0)
    course = run(analysis, out)
    assert verdicts(course) == verdicts(whole)
    assert course.sentence == whole.sentence
    assert (out / "store.jsonl").read_bytes() == (tmp_path / "whole/store.jsonl").read_bytes()


def test_runs_whose_folders_are_gone_count_by_their_scores(analysis, content, tmp_path):
    content["decide"]["max_seeds"] = 10
    first = run(Analysis.model_validate(content), tmp_path)
    assert "the budget of 10 seeds does not reach the next look" in first.sentence
    for path in (tmp_path / "runs").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    engine = StandIn()
    course = run(analysis, tmp_path, engine)
    assert sorted({int(name.split("-")[1]) for name in engine.made}) == list(range(10, 20))
    assert verdicts(course) == verdicts(run(analysis, tmp_path / "whole"))


@pytest.mark.parametrize("drawn", [True, False])
def test_a_study_whose_runs_all_lie_elsewhere_ends_well_and_leaves_its_page(
    content, tmp_path, drawn
):
    out, path = tmp_path / "out", tmp_path / "toys.yaml"
    content["sizes"] = {"small": {}}
    content["decide"]["max_seeds"] = 5
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    course = run(load_analysis(path).at("small"), out)
    shutil.rmtree(out / "runs")
    if drawn:
        (out / "index.html").write_text("the page")
        (out / "claims.csv").write_text("the claims")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    arguments = ["sweep", str(path), "--until-decided", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert course.sentence in result.stdout
    kept = f"{out / 'index.html'} is as it was" if drawn else "there is none yet"
    assert f"The page was not drawn anew ({kept}), since no run of the study" in result.stdout
    assert f"has a folder in {(out / 'runs').resolve()}: bring one there" in result.stdout
    assert f"Its scores are in {out / 'store.jsonl'}." in result.stdout
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert told["page"] is None
    assert told["course"] == course.sentence
    assert {row["claim"]: row["verdict"] for row in told["claims"]} == {
        name: path.decision.verdict for name, path in course.paths.items()
    }
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    assert "The page was not drawn anew" in repr(
        lp.sweep(path, out=out, until_decided=True, engine=StandIn())
    )


def test_a_changed_rule_is_refused_after_the_first_look_and_starts_afresh(content, tmp_path):
    content["decide"]["max_seeds"] = 5
    run(Analysis.model_validate(content), tmp_path)
    content["decide"]["max_seeds"] = 10  # a budget is no rule
    run(Analysis.model_validate(content), tmp_path)
    for change in ({"looks": [5, 10, 40]}, {"spending": "obrien-fleming"}, {"claims": ["boost"]}):
        other = {**content, "decide": {**content["decide"], **change}}
        with pytest.raises(ConfigError, match=r"look 2 was seen under another rule .* --new-study"):
            run(Analysis.model_validate(other), tmp_path)
    content["decide"] = {"looks": [4, 8]}
    course = run(Analysis.model_validate(content), tmp_path, new_study=True)
    assert {one.seed for one in course.store.runs.values() if one.seed >= 10} >= {10, 11, 12, 13}
    assert min(run.config.seed for run in course.runs) == 10
    assert (
        "Before, look 2 (10 seeds) had been seen under another rule (5, 10, 20, pocock)"
        in course.sentence
    )


def test_a_rule_may_change_before_the_first_look(content, tmp_path):
    State({"looks": [3]}).write(tmp_path)
    assert run(Analysis.model_validate(content), tmp_path).state.rule["looks"] == [5, 10, 20]


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"max_seeds": 0}, "--max-seeds 0 leaves nothing to run"),
        ({"hours": 0.0}, "--hours 0 leaves no time"),
        ({"max_seeds": 4}, "--max-seeds 4 does not reach the first look at 5 seeds"),
    ],
)
def test_a_budget_of_none_is_one_line(analysis, tmp_path, budget, message):
    with pytest.raises(ConfigError, match=message):
        run(analysis, tmp_path, budget=Budget(**budget))


def test_hours_are_of_runs_and_end_a_study_at_a_whole_seed(analysis, tmp_path):
    course = run(analysis, tmp_path, budget=Budget(hours=1.85))  # 0.1 hours a run
    assert course.reason == "the budget of 1.85 hours of runs is spent"
    assert seeds_by_arm(course) == {"mlp": 5, "cnn": 6, "adapters": 6}
    assert course.state.look == 1
    assert verdicts(run(analysis, tmp_path)) == verdicts(run(analysis, tmp_path / "whole"))


def test_it_stops_where_no_verdict_is_likely(content, tmp_path):
    content["claims"] = [claim("small", ("adapters", "cnn"), margin=0.0005)]
    content["decide"] = {"looks": [5, 10, 12]}
    gains = {**GAINS, "adapters": 0.0}
    course = run(Analysis.model_validate(content), tmp_path, StandIn(gains))
    assert course.hopeless == ("small",)
    assert course.state.look < 3
    assert "no verdict on small is likely enough to go on for" in course.sentence


def test_looks_that_are_made_are_judged_under_a_smaller_budget_too(content, tmp_path):
    content["claims"] = [claim("small", ("adapters", "cnn"), margin=0.004)]
    content["decide"] = {"looks": [5, 10, 20, 80]}
    one = Analysis.model_validate(content)
    assert run(one, tmp_path).state.look == 4
    course = run(one, tmp_path, budget=Budget(max_seeds=20))
    assert len(course.paths["small"].by_look) == 3
    assert course.reason == "the budget of 20 seeds does not reach the next look"
    assert course.hopeless == ()


def test_an_outlook_that_ends_earlier_is_no_better():
    design, start = Design((5, 10, 20, 40)), Start(5, 0.5, 1.0)
    by = {until: outlook(design, start, margin=0.5, until=until).best for until in (10, 20, None)}
    assert by[10] < by[20] < by[None]


def test_arms_of_a_seed_from_two_kinds_of_kernels_are_no_pair(analysis, content, tmp_path):
    run(analysis, tmp_path)
    store = ScoreStore.read(tmp_path / "store.jsonl")
    name = next(name for name in store.runs if name.startswith("adapters-3-"))
    made = {**store.runs[name].made, "kernels": "AVX512"}
    store.runs[name] = replace(store.runs[name], made=made)
    store.write()
    with pytest.raises(ConfigError, match="claim 'small', seed 3") as refused:
        run(analysis, tmp_path)
    assert f"{name} was run on Toy CPU, AVX512" in str(refused.value) or (
        f"{name} on Toy CPU, AVX512" in str(refused.value)
    )
    assert "\n" not in str(refused.value)


def test_other_seeds_may_come_from_another_machine(content, tmp_path):
    content["decide"]["max_seeds"] = 5
    run(Analysis.model_validate(content), tmp_path)
    content["decide"]["max_seeds"] = 20
    course = run(Analysis.model_validate(content), tmp_path, StandIn(kernels="AVX512"))
    assert {one.machine for one in course.store.runs.values()} == {
        "Toy CPU, AVX2", "Toy CPU, AVX512",
    }  # fmt: skip


def test_the_store_is_small_and_says_what_is_wrong_with_it(analysis, tmp_path):
    run(analysis, tmp_path)
    path = tmp_path / "store.jsonl"
    text = path.read_text()
    assert len(text) / len(text.splitlines()) < 600
    for spoilt in ("{", '{"run": 1}', "[]"):
        path.write_text(text + spoilt + "\n")
        with pytest.raises(TableError, match=f"line {len(text.splitlines()) + 1} is no stored run"):
            ScoreStore.read(path)
    last = json.loads(text.splitlines()[-1])
    last["values"]["scores"]["iou"][0] += 0.1
    path.write_text(text + json.dumps(last) + "\n")
    with pytest.raises(TableError, match="is stored with other scores too"):
        ScoreStore.read(path)
    path.write_text(text + text)  # the union of two machines' stores
    assert len(ScoreStore.read(path).runs) == len(text.splitlines()) - 1


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        ({"looks": [5, 5]}, "looks must grow"),
        ({"looks": [5], "claims": ["bost"]}, "unknown claim 'bost'"),
        ({"looks": [5], "claims": ["rises"]}, "is of an association of runs, not of seeds"),
        ({"looks": [5], "max_seeds": 3}, "3 seeds do not reach the first look at 5"),
        ({"looks": [5], "hours": 0}, "greater than 0"),
        ({"looks": [5], "spending": "all"}, "spending"),
        ({"looks": [5], "claims": ["one"]}, "claims of one family are decided together"),
    ],
)
def test_a_rule_that_makes_no_sense_is_one_line(content, tmp_path, decide, message):
    measured = {"table": "scores", "score": "iou"}
    content["claims"] += [
        claim("one", ("mlp", "adapters"), family="f"),
        claim("two", ("cnn", "adapters"), family="f"),
        {"id": "rises", "kind": "association", "statement": "s", "x": measured, "y": measured,
         "arms": ["cnn"], "margin": 0.3},
    ]  # fmt: skip
    content["decide"] = decide
    path = tmp_path / "toys.yaml"
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    with pytest.raises(ConfigError, match=message) as refused:
        load_analysis(path)
    assert "\n" not in str(refused.value)


def test_without_a_rule_or_runs_of_a_claim_nothing_is_begun(content, tmp_path):
    content["claims"].append(claim("lora", ("llm-lora", "cnn")))
    with pytest.raises(ConfigError, match="claim 'lora': no run of the analysis is llm-lora"):
        run(Analysis.model_validate(content), tmp_path)
    del content["decide"]
    with pytest.raises(ConfigError, match="does not say when it is decided: add a section"):
        run(Analysis.model_validate(content), tmp_path)
    assert not list(tmp_path.iterdir())


def test_tables_of_a_study_whose_arms_stopped_at_other_seeds(analysis, tmp_path):
    course = run(analysis, tmp_path)
    stored = stored_tables(course.analysis, course.runs, course.store)
    scores = stored["scores"].reindex(columns=list(tables.SCORES.columns))
    named = {"scores": tables.conform(scores, tables.SCORES), "runs": stored["runs"]}
    found = compared(course.analysis, named)
    claims = found["claims.csv"].set_index("claim")
    arms = found["comparison.csv"].set_index("a")
    for name, arm in (("boost", "mlp"), ("small", "adapters")):
        decision = course.paths[name].decision
        assert claims.loc[name, "verdict"] == decision.verdict
        assert claims.loc[name, "look"] == decision.look
        assert arms.loc[arm, "look"] == decision.look
    path = found["looks.csv"].groupby("claim")["seeds"].apply(list).to_dict()
    assert path == {"boost": [5], "small": [5, 10, 20]}
    further = beside(course.analysis, named)
    counts = further["pairs.csv"].groupby("claim")["seed"].nunique()
    assert counts.to_dict() == {"boost": 5, "small": 20}


def test_a_forecast_gives_seeds_and_hours_with_their_range(analysis, tmp_path):
    run(analysis, tmp_path)
    blind = forecast_until_decided(analysis, tmp_path / "new", tmp_path / "runs", Budget())
    assert set(blind.rows["difference"]) == {"half an SD", "one SD", "two SDs"}
    assert blind.sentence.startswith("Between 5 seeds (15 runs, 1.5 h of runs)")
    found = forecast_until_decided(analysis, tmp_path, tmp_path / "runs", Budget(max_seeds=10))
    assert set(found.rows["difference"]) == {"none", "the margin", "twice the margin"}
    assert " and 10 seeds (30 runs" in found.sentence
    assert found.rows["mean_seeds"].between(5, 10).all()
