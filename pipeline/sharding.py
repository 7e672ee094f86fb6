"""The run over all tars: claims the folder, deals units to processes, continues what was begun."""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from pipeline.align import WARPS
from pipeline.claim import claimed
from pipeline.executors import Workplace, dask_cluster, local_processes, work_through
from pipeline.finish import finish
from pipeline.plan import Plan, Settings, plain_settings
from pipeline.progress import progress
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
    with claimed(out / WORK / _LOCK, out):
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
    tasks = ((plan.unit(number), job) for number in left)
    with progress("sharding", int(sizes[left].sum()), lost="rejected") as advance:
        work_through(workplace, do_unit, tasks, lambda done: advance(*done), kept="finished tars are kept")
    if unseen := [number for number in left if not _is_done(out, number)]:
        raise UserError(
            f"a worker wrote {tar_name(unseen[0])}, but it is not in {out}; the photos and --out must lie on storage "
            "that all machines see under the same paths"
        )


def _is_done(out: Path, number: int) -> bool:
    return record_path(out, number).is_file() and (out / tar_name(number)).is_file()


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
