"""A rank that compiles is waited for, and told by its number."""

import time
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch._dynamo.callback import callback_handler
from torch.distributed.distributed_c10d import _set_pg_timeout

from tests.training.worlds import on_world
from training.engine.compiling import waiting_for_compilers
from training.ranks.world import ALONE, World, wait_for_all

LATE_S = 2.0


def compiles(world: World, waits: bool) -> dict[str, torch.Tensor]:
    """A step that compiles, for longer on rank 1 than the others wait in a step."""
    _set_pg_timeout(timedelta(seconds=1))
    step = torch.compile(lambda x: x + 1, backend="eager")
    with waiting_for_compilers(world, 1, late=1) if waits else nullcontext():
        slow = callback_handler.register_start_callback(lambda _: time.sleep(LATE_S * world.rank))
        total = step(torch.tensor([float(world.rank)]))
        dist.all_reduce(total)
    callback_handler.remove_start_callback(slow)
    wait_for_all(world)
    try:
        if world.rank == 0:
            dist.all_reduce(torch.zeros(1))
        else:
            time.sleep(LATE_S)
        impatient = False
    except RuntimeError:
        impatient = True
    return {"total": total, "impatient": torch.tensor(impatient)}


@pytest.mark.soak
def test_ranks_wait_for_one_that_compiles_and_not_afterwards(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = on_world(2, compiles, tmp_path, True)
    assert [one["total"].item() for one in found] == [3, 3]
    assert found[0]["impatient"]
    told = capfd.readouterr().err
    assert "warning: rank 1 still compiles after 1 s, and the others wait for it" in told
    assert "rank 0 still" not in told


@pytest.mark.slow
def test_without_patience_the_job_ends(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="exit"):
        on_world(2, compiles, tmp_path, False)


def test_nothing_is_left_behind() -> None:
    before = list(callback_handler.start_callbacks), list(callback_handler.end_callbacks)
    with pytest.raises(ValueError, match="stop"), waiting_for_compilers(ALONE, 1):
        raise ValueError("stop")
    assert before == (callback_handler.start_callbacks, callback_handler.end_callbacks)
