import torch

from llm4seg_probe.config import Config
from llm4seg_probe.training.work import step_time


def test_a_deeply_supervised_network_takes_its_steps_too(tiny_config: Config) -> None:
    data = tiny_config.data.model_copy(update={"image_size": (128, 128)})
    backbone = {"name": "dynunet-2d", "widths": range(2, 9), "deep_supervision": True}
    values = tiny_config.model_dump() | {"data": data, "backbone": backbone}
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    found = step_time(Config.model_validate(values), repeats=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.steps == tiny_config.training.epochs * 3  # 24 of 40 images, 8 a batch
    assert found.run_seconds == found.seconds * found.steps > 0
