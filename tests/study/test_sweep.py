import pytest

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.study.analysis import Sweep
from llm4seg_probe.study.runs import identity

SWEEP = Sweep.model_validate(
    {
        "name": "layers",
        "base": {"training": {"epochs": 3}},
        "factors": {"arm": ["cnn", "llm"], "booster.layer": [1, 15], "seed": [0, 1]},
        "sizes": {"quick": {"factors": {"seed": [7]}, "base": {"training": {"batch_size": 2}}}},
    }
)


def test_the_runs_are_all_combinations_with_whole_seeds_first() -> None:
    found = [(c.seed, c.arm, c.booster.layer) for c in SWEEP.configs()]
    assert found == [(s, a, y) for s in (0, 1) for a in ("cnn", "llm") for y in (1, 15)]
    assert {config.training.epochs for config in SWEEP.configs()} == {3}


def test_a_size_changes_factors_and_base_and_leaves_the_rest() -> None:
    quick = SWEEP.at("quick").configs()
    assert {config.seed for config in quick} == {7}
    assert {config.arm for config in quick} == {"cnn", "llm"}
    assert {(c.training.epochs, c.training.batch_size) for c in quick} == {(3, 2)}


def test_an_unknown_size_or_level_is_named() -> None:
    with pytest.raises(ConfigError, match="layers: unknown size 'small'"):
        SWEEP.at("small")
    wrong = SWEEP.model_copy(update={"factors": {"arm": ("cnn", "lllm")}})
    with pytest.raises(ConfigError, match=r"analysis layers: arm: unknown value 'lllm'"):
        wrong.configs()


def test_two_runs_share_an_identity_only_if_config_and_data_are_the_same() -> None:
    base = identity(Config(), "data")
    assert base == identity(Config(), "data")
    others = [identity(Config(seed=1), "data"), identity(Config(), "other data")]
    assert len({base, *others}) == 3
