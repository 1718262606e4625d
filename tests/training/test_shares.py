import pytest

from llm4seg_probe.training.task import SharedBatches, Shares


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize(("count", "size"), [(24, 8), (25, 8), (7, 5), (3, 5)])
def test_processes_share_the_batches_of_one(world: int, count: int, size: int) -> None:
    order = [(7 * place) % count if count % 7 else place for place in range(count)]
    alone = list(SharedBatches(order, Shares(count, size)))
    assert [image for batch in alone for image in batch] == order
    shares = [Shares(count, size, rank, world) for rank in range(world)]
    parts = [list(SharedBatches(order, share)) for share in shares]
    for index, batch in enumerate(alone):
        counted = []
        for share, own in zip(shares, parts, strict=True):
            assert own[index]  # a process without images takes part, too
            counted += own[index][: share.own(index)]
        assert sorted(counted) == sorted(batch)
    assert {len(own) for own in parts} == {len(alone)} == {len(shares[0])}


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_a_step_is_the_mean_over_its_images(world: int, accumulate: int) -> None:
    losses = [float(image * image) for image in range(23)]
    shares = [Shares(23, 3, rank, world) for rank in range(world)]
    parts = [list(SharedBatches(range(23), share)) for share in shares]
    for first in range(0, len(shares[0]), accumulate):
        group = range(first, min(first + accumulate, len(shares[0])))
        step = 0.0  # as the trainer takes it: batches over accumulate, processes averaged
        for index in group:
            for share, own in zip(shares, parts, strict=True):
                mean = sum(losses[image] for image in own[index]) / len(own[index])
                step += mean * share.weight(index, accumulate) / accumulate / world
        images = range(3 * first, min(3 * (group[-1] + 1), 23))
        assert step == pytest.approx(sum(losses[image] for image in images) / len(images))


def test_alike_shares_have_the_factor_one_exactly() -> None:
    for world in (1, 2, 4):
        share = Shares(24, 8, world - 1, world)
        assert [share.weight(index, 3) for index in range(3)] == [1.0] * 3
