"""The run over all tars: claims the folder, deals units to processes, continues what was begun."""

import fcntl
import json
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.align import WARPS
from pipeline.executors import Workplace, dask_cluster, local_processes
from pipeline.finish import finish
from pipeline.plan import Plan, Settings, plain_settings
from pipeline.unit import WORK, Job, Origin, do_unit, record_path
from shards.command import UserError
from shards.format import MANIFEST, Manifest, read_manifest, tar_name
from shards.writer import write_atomically

_PLAN = "plan.json"
_LOCK = "lock"


def shard(plan: Plan, out: Path, *, workers: int, dask: str | None = None) -> tuple[Manifest, bool]:
    """Write the plan's tars into a folder, or what an interrupted run left of them.

    Args:
        plan: of the whole folder.
        out: the folder.
        workers: processes of this machine.
        dask: address of a Dask scheduler whose workers do the work instead.

    Returns:
        the manifest, and whether the folder had been finished before.

    Raises:
        UserError: the folder is in use, holds something else, or was begun with other parameters.
        OSError: it cannot be written.
    """
    out = out.absolute()
    if (out / MANIFEST).is_file():
        manifest = read_manifest(out)
        _refuse_others(_finished_parameters(manifest), plan.parameters(), out)
        # The manifest is written last: what else is there was left by a run that was killed right after.
        shutil.rmtree(out / WORK, ignore_errors=True)
        return manifest, True
    _refuse_foreign_files(out)
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with _claimed(out):
        _claim_parameters(plan, out)
        staging = _sweep(out)
        with dask_cluster(dask) if dask else local_processes(workers) as workplace:
            _do_units(plan, out, staging, workplace)
        manifest = finish(plan, out)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest, False


def _do_units(plan: Plan, out: Path, staging: Path, workplace: Workplace) -> None:
    """Do every unit whose record is not there yet."""
    left = [number for number in range(plan.tars) if not _is_done(out, number)]
    origins = tuple(Origin(source.name, source.root.absolute(), source.framing) for source in plan.sources)
    job = Job(origins, out, staging, plan.settings.face_format(), plan.settings.min_photos)
    sizes = plan.unit_sizes()
    with _progress(int(sizes[left].sum())) as advance:
        running: set[Future[tuple[int, int]]] = set()
        try:
            for number in left:
                # Only as many units as keep the workers busy are in memory.
                while len(running) > workplace.units_at_once:
                    running = _collect(running, advance)
                running.add(workplace.executor.submit(do_unit, plan.unit(number), job))
            while running:
                running = _collect(running, advance)
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died (killed, or out of memory); run the same command again: finished tars are kept"
            ) from error
        finally:
            for future in running:
                future.cancel()
    if unseen := [number for number in left if not _is_done(out, number)]:
        raise UserError(
            f"a worker wrote {tar_name(unseen[0])}, but it is not in {out}; the photos and --out must lie on storage "
            "that all machines see under the same paths"
        )


def _is_done(out: Path, number: int) -> bool:
    return record_path(out, number).is_file() and (out / tar_name(number)).is_file()


def _collect(running: set[Future[tuple[int, int]]], advance: Any) -> set[Future[tuple[int, int]]]:
    """Wait for some units; return those still running."""
    done, running = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        advance(*future.result())
    return running


@contextmanager
def _progress(photos: int) -> Iterator[Any]:
    """Show progress as a bar on a terminal, as a line every few seconds elsewhere."""
    console = Console(stderr=True)
    start, written, rejected, last = time.monotonic(), 0, 0, time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("photos, {task.fields[rate]:,.0f}/s, {task.fields[rejected]} rejected,"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("sharding", total=photos, rate=0.0, rejected=0)

        def advance(more_written: int, more_rejected: int) -> None:
            nonlocal written, rejected, last
            written, rejected = written + more_written, rejected + more_rejected
            now = time.monotonic()
            rate = (written + rejected) / max(now - start, 1e-9)
            bar.update(task, completed=written + rejected, rate=rate, rejected=rejected)
            if not console.is_terminal and (now - last > 5 or written + rejected == photos):
                last = now
                eta = (photos - written - rejected) / rate
                print(
                    f"sharding: {written + rejected}/{photos} photos, {rate:,.0f}/s, {rejected} rejected, "
                    f"{eta:.0f} s left",
                    file=sys.stderr,
                )

        yield advance


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Hold the folder against a second command; the system lets go of it when the process ends."""
    with (out / WORK / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{out} is being written by another command; wait for it or choose another --out"
            ) from error
        yield


def _claim_parameters(plan: Plan, out: Path) -> None:
    """Note the parameters in a new folder; in a begun one, refuse others."""
    path = out / WORK / _PLAN
    if path.is_file():
        _refuse_others(json.loads(path.read_text(encoding="utf-8")), plan.parameters(), out)
    else:
        write_atomically(path, json.dumps(plan.parameters()).encode())


def _finished_parameters(manifest: Manifest) -> dict[str, Any]:
    settings = Settings(
        template=manifest.preprocessing.template,
        size=manifest.preprocessing.size,
        codec=manifest.codec,
        quality=manifest.quality or Settings.quality,
        seed=manifest.seed,
        min_photos=manifest.min_photos,
        tar_mb=manifest.tar_mb,
        min_tars=manifest.min_tars,
        stored_views=manifest.stored_views,
        warp=next((name for name, warp in WARPS.items() if warp == manifest.preprocessing.warp), Settings.warp),
    )
    return {**plain_settings(settings), "sources": list(manifest.sources)}


def _refuse_others(begun: dict[str, Any], wanted: dict[str, Any], out: Path) -> None:
    """Refuse parameters other than those the folder was begun with, naming both values."""
    differing = [name for name in wanted if begun.get(name) != wanted[name]]
    if wanted["codec"] != "jpg" and "quality" in differing:
        differing.remove("quality")
    if differing:
        name = differing[0]
        raise UserError(
            f"{out} was begun with {name} {begun.get(name)}, now {name} {wanted[name]} is asked for; "
            "use the same parameters or another --out"
        )


def _refuse_foreign_files(out: Path) -> None:
    """Refuse a folder that holds something this command did not begin."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder for --out")
    if out.is_dir() and not (out / WORK).is_dir() and any(out.iterdir()):
        raise UserError(f"{out} holds other files; name a new or empty folder for --out")


def _sweep(out: Path) -> Path:
    """Remove what a killed run left half-written, and return a folder for what this one has in the making.

    A worker of that run that is still alive elsewhere can no longer give its file its name.
    """
    for leftover in [*out.glob(".*.tmp"), *(out / WORK).glob(".*.tmp")]:
        leftover.unlink(missing_ok=True)
    for stale in (out / WORK).glob("run-*"):
        shutil.rmtree(stale)
    staging = out / WORK / f"run-{secrets.token_hex(8)}"
    staging.mkdir()
    return staging
