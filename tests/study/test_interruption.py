import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from llm4seg_probe.config import Config
from llm4seg_probe.study.analysis import load_analysis
from llm4seg_probe.study.pipeline import answer

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks for left-over processes in /proc"
)


@pytest.fixture(scope="module")
def analysis(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis file of four runs that take some seconds each."""
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    base["training"]["epochs"] = 12
    path = tmp_path_factory.mktemp("analysis") / "tiny.yaml"
    content = {
        "name": "tiny", "title": "Tiny", "question": "Does it stop?", "rests_on": "Little.",
        "base": base, "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]}, "sizes": {"small": {}},
    }  # fmt: skip
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    return path


@pytest.fixture(scope="module")
def uninterrupted(analysis: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    answer(load_analysis(analysis).at("small"), out, size="small")
    return out


def processes_that_mention(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if text.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_sweep_leaves_no_process_and_goes_on_to_the_same_tables(
    analysis: Path, uninterrupted: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    mark = f"OUR_MARK={tmp_path}"
    command = [sys.executable, "-m", "llm4seg_probe", "sweep", str(analysis), "--out"]
    environment = {**os.environ, "OUR_MARK": str(tmp_path)}
    with subprocess.Popen(
        [*command, str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
    ) as sweep:
        while not list(tmp_path.glob("runs/*/last.pt")):
            assert sweep.poll() is None, sweep.stderr
            time.sleep(0.05)
        sweep.send_signal(sent)
        _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == code
    if sent is signal.SIGINT:
        # On a busy machine half a minute may pass, after which it says how far it is.
        assert [line for line in said.splitlines() if "runs done" not in line] == [
            "tiny at size small: 4 runs (2 arms, 2 seeds)",
            "Stopped. What was done is kept; the same command goes on from there.",
        ]
    deadline = time.monotonic() + 20
    while processes_that_mention(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_that_mention(mark) == []
    answer(load_analysis(analysis).at("small"), tmp_path, size="small")
    for name in ("scores.csv", "rank.csv", "maps.csv", "curves.csv"):
        assert (tmp_path / name).read_bytes() == (uninterrupted / name).read_bytes(), name
