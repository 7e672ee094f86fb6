"""What ranks exchange, with real processes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.worlds import on_world
from training.ranks.world import ALONE, World, any_rank, gather_rows, mean_over_ranks


def exchanged(world: World) -> dict[str, Tensor]:
    """Rows of all ranks, each weighted by the rank that sees it, and the gradient that comes back."""
    rows = (torch.arange(4.0).view(2, 2) + 10 * world.rank).requires_grad_()
    everyone = gather_rows(rows)
    (everyone * (world.rank + 1) * torch.arange(1.0, len(everyone) + 1)[:, None]).sum().backward()
    assert rows.grad is not None
    return {
        "rows": everyone.detach(),
        "gradient": rows.grad,
        "mean": mean_over_ranks(torch.tensor([1.0, 4.0 * world.rank])),
        "flags": torch.tensor(any_rank(world.rank == 1, False)),
    }


@pytest.mark.slow
def test_rows_and_gradients_go_to_every_rank_and_back(tmp_path: Path) -> None:
    parts = on_world(2, exchanged, tmp_path)
    for part in parts:
        assert part["rows"].tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
        assert part["mean"].tolist() == [1, 2]
        assert part["flags"].tolist() == [True, False]
    # Row k of all weighs k on the first rank and 2 k on the second.
    assert parts[0]["gradient"].tolist() == [[3, 3], [6, 6]]
    assert parts[1]["gradient"].tolist() == [[9, 9], [12, 12]]


def where(world: World) -> dict[str, torch.Tensor]:
    return {"on": torch.zeros(1, device=world.device)}


@pytest.mark.slow
def test_machines_that_found_different_devices_all_take_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [str(one["on"].device) for one in on_world(2, where, tmp_path, FOUND_BY_RANKS="gpu cpu")] == ["cpu", "cpu"]
    assert "ranks 1 have no GPU of their own, so all compute on the CPU" in capsys.readouterr().err


def test_alone_nothing_is_exchanged() -> None:
    found = exchanged(ALONE)
    assert found["rows"].tolist() == [[0, 1], [2, 3]]
    assert found["gradient"].tolist() == [[1, 1], [2, 2]]
    assert found["mean"].tolist() == [1, 0]
    assert found["flags"].tolist() == [False, False]
