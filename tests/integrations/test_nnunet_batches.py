"""Workers that make batches: forked from a training whose threads they do not have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORKED = """
import multiprocessing, torch
from llm4seg_probe.integrations.nnunet.batches import AddressedBatches

class Loader:
    def set_thread_id(self, number):
        pass
    def __next__(self):
        return float((torch.ones(400, 400) @ torch.ones(400, 400)).sum())

def work(batches, queue):
    batches.set_thread_id(0)
    queue.put(next(batches))

torch.set_num_threads(2)
torch.ones(900, 900) @ torch.ones(900, 900)  # from here on OpenMP has its threads in this process
batches = AddressedBatches(Loader(), 0, "train", 0, 0)
fork = multiprocessing.get_context("fork")
queue = fork.Queue()
worker = fork.Process(target=work, args=(batches, queue), daemon=True)
worker.start()
print(queue.get(timeout=60))
print(next(batches), torch.get_num_threads())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nnU-Net forks on Linux only")
def test_a_worker_forked_from_a_training_of_several_threads_makes_its_batch():
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-500:]
    assert ran.stdout.split() == ["64000000.0", "64000000.0", "2"]
