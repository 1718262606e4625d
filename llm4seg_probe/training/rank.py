"""One of several processes of a training: ``python -m llm4seg_probe.training.rank``.

It reads one line of JSON from standard input, what to train, and ends when that pipe breaks. What
goes wrong is a line of JSON on standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from llm4seg_probe import progress
from llm4seg_probe.config import Config
from llm4seg_probe.errors import UserError


def main() -> int:
    """Train as the line on standard input says; the exit status."""
    # Ctrl-C reaches all processes of a terminal; the one that started this one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if os.environ["LOCAL_RANK"] != "0" or os.environ["NODE_RANK"] != "0":
        progress.mute()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            train_share(job)
    except UserError as error:
        return _say(type(error).__name__, str(error))
    except Exception as error:
        traceback.print_exc()
        return _say("", f"{type(error).__name__}: {error}")
    return 0


def job_of(config: Config, split: dict[str, Any], out: Path, **options: bool) -> dict[str, Any]:
    """What :func:`train_share` needs, as plain values."""
    values = config.model_dump(mode="json")
    return {"config": values, "split": split, "out": str(out.resolve()), **options}


def train_share(job: dict[str, Any]) -> None:
    """Do this process's part of a training. Raises UserErrors."""
    from llm4seg_probe.data.opening import open_collection
    from llm4seg_probe.data.splits import Split
    from llm4seg_probe.models.network import build_network
    from llm4seg_probe.training.compute import arranged, computing, failures_named
    from llm4seg_probe.training.fitting import fit

    config = Config.model_validate(job["config"])
    with computing(config.compute), failures_named(config):
        fit(
            config,
            arranged(build_network(config), config),
            open_collection(config.data.name, classes=config.data.classes),
            Split.from_dict(job["split"]),
            Path(job["out"]),
            resume=job["resume"],
            embed_layer=job["embed_layer"],
        )


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _say(error: str, message: str) -> int:
    print(json.dumps({"error": error, "message": " ".join(message.split())}), flush=True)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Not sys.exit, which would wait for the thread that reads standard input.
    os._exit(status)
