"""Add seeds by declared looks until the claims of an analysis are decided.

The state of a study is a small file beside its results: its rule, fixed by the first look, and the
last look that was judged. Scores that count lie in a store beside it (:mod:`score_store`), so that
a study goes on after a stop, over weeks and on other machines, at the same look with the same
boundaries. To end early for want of power or budget takes nothing from the error rate: boundaries
ignore it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from llm4seg_probe import progress
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.look_claims import ClaimPath, judge_at_looks
from llm4seg_probe.statistics.stopping import LEAST_POWER, Start, outlook
from llm4seg_probe.study.analysis import Analysis, deciding, storable
from llm4seg_probe.study.engines.base import Engine
from llm4seg_probe.study.engines.local import LocalEngine
from llm4seg_probe.study.machines import refuse_mixed_machines, refuse_other_machine
from llm4seg_probe.study.pipeline import finish, planned
from llm4seg_probe.study.runs import PlannedRun, settings
from llm4seg_probe.study.score_store import NAME as STORE
from llm4seg_probe.study.score_store import Kept, ScoreStore, kept_for
from llm4seg_probe.study.study_state import (
    Budget,
    State,
    needed,
    runs_of,
    seeds_of,
    stored_state,
    terms_of,
    with_seeds,
)


@dataclass(frozen=True)
class Course:
    """Where a study stands: what was judged, and why it stopped.

    runs: all that were made, those without a folder too. decided, hopeless, still_open: ids of
    the claims that were to be decided. paths: of all claims.
    """

    analysis: Analysis
    runs: tuple[PlannedRun, ...]
    store: ScoreStore
    state: State
    paths: Mapping[str, ClaimPath]
    decided: tuple[str, ...]
    hopeless: tuple[str, ...]
    still_open: tuple[str, ...]
    reason: str

    @property
    def sentence(self) -> str:
        """The course in words, for page and terminal."""
        assert self.analysis.decide is not None
        looks = self.analysis.decide.looks
        reached = self.state.look
        told = [
            "Seeds were added until the claims were decided, looked at after "
            f"{', '.join(map(str, looks))} (declared before the first run; "
            f"{self.analysis.decide.spending}).",
            f"Stopped at look {reached} of {len(looks)} ({looks[reached - 1]} seeds): "
            f"{self.reason}."
            if reached
            else f"No look was reached: {self.reason}.",
        ]
        if self.still_open and reached < len(looks):
            claims = ", ".join(self.still_open)
            told.append(f"Open: {claims}; the next look is at {looks[reached]} seeds.")
        for entry in self.state.earlier:
            told.append(
                f"Before, look {entry['look']} ({entry['seeds']} seeds) had been seen under "
                f"another rule ({', '.join(map(str, entry['looks']))}, {entry['spending']}); those "
                "seeds do not count here."
            )
        return " ".join(told)


def until_decided(
    analysis: Analysis,
    out: Path,
    runs: Path,
    *,
    engine: Engine | None = None,
    budget: Budget | None = None,
    new_study: bool = False,
) -> Course:
    """Run the seeds of each look in turn, judge, and stop when there is nothing left to decide.

    Runs are made in ``runs`` on ``engine``; state and store lie in ``out``. An arm that no open
    claim needs is not run on. Interrupted, the same call goes on where it was.

    Raises ConfigError for an analysis without ``decide``, a budget that reaches no look, a rule
    that was changed after its first look (without ``new_study``), or arms of one seed that were
    run on different kinds of processor.
    """
    study = _Study.begun(analysis, out, runs, engine or LocalEngine(), budget, new_study)
    reason = ""
    while not reason:
        reason = study.next_look()
    return study.course(reason)


@dataclass
class _Study:
    analysis: Analysis
    out: Path
    folder: Path
    engine: Engine
    budget: Budget
    state: State
    store: ScoreStore
    claims: tuple[Claim, ...]
    kept: Mapping[str, Kept]
    paths: Mapping[str, ClaimPath] = field(default_factory=dict)
    hopeless: list[str] = field(default_factory=list)
    judged: int = 0
    """Looks judged in this process: those of the state are judged again, from the store."""

    @classmethod
    def begun(
        cls, analysis: Analysis, out: Path, folder: Path, engine: Engine,
        budget: Budget | None, new_study: bool,
    ) -> _Study:  # fmt: skip
        decide = analysis.decide
        if decide is None:
            raise ConfigError(
                f"analysis {analysis.name} does not say when it is decided: add a section `decide` "
                "with `looks`, such as [5, 10, 20, 40]"
            )
        given = budget or Budget()
        most = given.max_seeds or decide.max_seeds
        if most is not None and most < decide.looks[0]:
            raise ConfigError(
                f"--max-seeds {most} does not reach the first look at {decide.looks[0]} seeds"
            )
        claims = deciding(analysis)
        _refuse_without_runs(analysis, claims)
        state = stored_state(analysis, claims, out, new_study)
        return cls(
            analysis, out, folder, engine, Budget(most, given.hours or decide.hours), state,
            ScoreStore.read(out / STORE), claims,
            kept_for(storable(analysis), analysis.comparison.score),
        )  # fmt: skip

    @property
    def looks(self) -> tuple[int, ...]:
        assert self.analysis.decide is not None
        return self.analysis.decide.looks

    @property
    def still_open(self) -> list[Claim]:
        """Claims that further seeds could decide."""
        return [
            claim
            for claim in self.claims
            if claim.id not in self.hopeless
            and not (claim.id in self.paths and self.paths[claim.id].decision.decided)
        ]

    def next_look(self) -> str:
        """Make and judge the next look; why the study stops, empty where it goes on."""
        if self.judged == len(self.looks):
            return "it was the last look"
        seeds = self.looks[self.judged]
        if self.budget.max_seeds is not None and seeds > self.budget.max_seeds:
            return f"the budget of {self.budget.max_seeds} seeds does not reach the next look"
        if not self._made(seeds):
            return f"the budget of {self.budget.hours:g} hours of runs is spent"
        self._judge()
        self.judged += 1
        if self.judged > self.state.look:
            self.state.look = self.judged
            self.state.write(self.out)
        # A look that was gone beyond once is judged again, and not given up: its seeds are there.
        if self._has_next and self.judged == self.state.look:
            self.hopeless += [
                claim.id
                for claim in self.still_open
                if best_chance(self.paths[claim.id], self.analysis, self.budget.max_seeds)
                < LEAST_POWER
            ]
        self._tell()
        if not self.still_open:
            if not self.hopeless:
                return "all claims are decided"
            return (
                f"no verdict on {', '.join(self.hopeless)} is likely enough to go on for (less "
                f"than {100 * LEAST_POWER:.0f} % with the seeds that are left)"
            )
        return ""

    def planned(self, seeds: int) -> list[PlannedRun]:
        """All runs of the analysis at the first seeds of the study."""
        return planned(
            with_seeds(self.analysis, seeds_of(self.analysis, self.state, seeds)), self.folder
        )

    def _made(self, seeds: int) -> bool:
        """Make and store the runs of a look; False where the hours do not last."""
        runs = self.planned(seeds)
        claims = self.still_open
        base = self.analysis.base_config()
        mask = needed([run.config for run in runs], base, claims)
        # At the first look the page shows every arm; then only those that open claims need.
        wanted = [
            run for run, is_needed in zip(runs, mask, strict=True) if is_needed or not self.judged
        ]
        self._harvest(wanted)
        missing = [run for run in wanted if not self._is_stored(run)]
        if isinstance(self.engine, LocalEngine):
            refuse_other_machine(wanted, missing, self.store)
        for part in [missing] if self.budget.hours is None else _by_seed(missing):
            if part and self._would_exceed(part):
                return False
            finish(part, self.analysis, self.engine)
            self._harvest(part)
        return True

    def _is_stored(self, run: PlannedRun) -> bool:
        one = self.store.runs.get(run.path.name)
        return one is not None and one.holds(self.kept)

    def _harvest(self, runs: Sequence[PlannedRun]) -> None:
        """Store the scores of runs that are finished."""
        new = [run for run in runs if not self._is_stored(run) and _is_probed(run, self.kept)]
        for run in new:
            self.store.add(run, self.kept)
        if new:
            self.store.write()

    def _would_exceed(self, runs: Sequence[PlannedRun]) -> bool:
        """Whether these runs would take more than the hours that are left, as far as is known."""
        if self.budget.hours is None:
            return False
        own = [one for one in self.store.runs.values() if "wall_seconds" in one.made]
        spent = sum(one.made["wall_seconds"] for one in own)
        by_arm = pd.Series({k: one.made["wall_seconds"] for k, one in enumerate(own)}, dtype=float)
        arms = [one.arm for one in own]
        usual = by_arm.groupby(arms).median() if own else pd.Series(dtype=float)
        ahead = sum(usual.get(run.config.arm, usual.mean() if len(usual) else 0.0) for run in runs)
        return bool(spent + ahead > 3600 * self.budget.hours)

    def _judge(self) -> None:
        assert self.analysis.decide is not None
        runs = self.planned(self.looks[self.judged])
        stored = [run for run in runs if self._is_stored(run)]
        refuse_mixed_machines(self.analysis, self.claims, stored, self.store)
        found = stored_tables(self.analysis, stored, self.store)
        judgement = judge_at_looks(
            storable(self.analysis), found, self.analysis.decide.design, bootstrap=0
        )
        self.paths = judgement.paths

    @property
    def _has_next(self) -> bool:
        """Whether there is a further look, and the budget of seeds reaches it."""
        if self.judged == len(self.looks):
            return False
        return self.budget.max_seeds is None or self.looks[self.judged] <= self.budget.max_seeds

    def _tell(self) -> None:
        verdicts = ", ".join(
            f"{claim.id} {self.paths[claim.id].decision.verdict}" for claim in self.claims
        )
        progress.say(f"Look {self.judged} ({self.looks[self.judged - 1]} seeds): {verdicts}")

    def course(self, reason: str) -> Course:
        seeds = self.looks[self.judged - 1] if self.judged else self.looks[0]
        grown = with_seeds(self.analysis, seeds_of(self.analysis, self.state, seeds))
        runs = [run for run in planned(grown, self.folder) if self._is_stored(run)]
        open_ = [claim.id for claim in self.still_open]
        done = [c.id for c in self.claims if c.id not in open_ and c.id not in self.hopeless]
        return Course(
            grown, tuple(runs), self.store, self.state, self.paths, tuple(done),
            tuple(self.hopeless), (*self.hopeless, *open_), reason,
        )  # fmt: skip


def stored_tables(
    analysis: Analysis, runs: Sequence[PlannedRun], store: ScoreStore
) -> dict[str, pd.DataFrame]:
    """Tables as :func:`judge` takes them, from the store alone."""
    names = [run.path.name for run in runs]
    described = settings([run.config for run in runs], analysis.base_config())
    described.insert(0, "run", names)
    kept = dict.fromkeys(name for one in store.runs.values() for name in one.values)
    tables = {
        name: store.table(name, [run for run in names if name in store.runs[run].values])
        for name in kept
    }
    return {**tables, "runs": described}


def best_chance(path: ClaimPath, analysis: Analysis, until: int | None = None) -> float:
    """Largest chance of any verdict on a claim that is still possible, if the study goes on.

    At the estimate, at the margin on either side, and without a difference. A claim of several
    comparisons is as likely to be decided as the least likely of them, and to be contradicted as
    the most likely.
    """
    assert analysis.decide is not None
    number, claim = len(path.by_look), path.claim
    chances: dict[str, dict[str, list[float]]] = {}
    for member in path.members:
        estimate = member.looks[number - 1].estimate if number else None
        if estimate is None or not estimate.has_spread:
            return 1.0  # Without a spread there is nothing to go by.
        sign = -1 if member.assessment.rules.lower_is_better else 1
        found = outlook(
            analysis.decide.design, Start(estimate.n, sign * estimate.difference, estimate.sd),
            margin=claim.margin, kind=claim.kind, level=path.decision.level,
            level_equivalence=path.decision.level_equivalence, until=until,
        )  # fmt: skip
        for effect, by_verdict in found.chances.items():
            for verdict, chance in by_verdict.items():
                chances.setdefault(effect, {}).setdefault(verdict, []).append(chance)
    each = [
        (max if verdict == "contradicted" else min)(values)
        for by_verdict in chances.values()
        for verdict, values in by_verdict.items()
    ]
    return max(each, default=1.0)


def _refuse_without_runs(analysis: Analysis, claims: Sequence[Claim]) -> None:
    table = settings(analysis.configs(), analysis.base_config())
    for claim in claims:
        for term in terms_of(claim):
            if not runs_of(table, term, claim).any():
                raise ConfigError(
                    f"claim '{claim.id}': no run of the analysis is {term}, so it cannot be decided"
                )


def _is_probed(run: PlannedRun, kept: Mapping[str, Kept]) -> bool:
    return run.done and all((run.path / f"{name}.csv").is_file() for name in kept)


def _by_seed(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    found: dict[int, list[PlannedRun]] = {}
    for run in runs:
        found.setdefault(run.config.seed, []).append(run)
    return list(found.values())
