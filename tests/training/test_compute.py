import sys

import pytest
import torch

from llm4seg_probe.config import ComputeConfig, Config
from llm4seg_probe.training.compute import computing, keep_freed_memory, memory_format


def test_threads_and_determinism_hold_inside_and_are_put_back() -> None:
    before = torch.get_num_threads()
    with computing(ComputeConfig(threads=1)):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
def test_glibc_takes_the_settings() -> None:
    assert keep_freed_memory() is True


@pytest.mark.parametrize(
    ("size", "chosen", "expected"),
    [
        ((32, 32), "channels_last", torch.channels_last),
        ((32, 32, 32), "channels_last", torch.channels_last_3d),
        ((32, 32, 32), "contiguous", torch.contiguous_format),
    ],
)
def test_the_memory_format_follows_the_dimensions(
    size: tuple[int, ...], chosen: str, expected: torch.memory_format
) -> None:
    config = Config.model_validate(
        {"data": {"image_size": size}, "compute": {"memory_format": chosen}}
    )
    assert memory_format(config) is expected
