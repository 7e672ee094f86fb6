"""The sharding run: locks the folder, writes all tars in parallel and resumes an interrupted run."""

import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.alignment.align import WARPS
from pipeline.jobs.executors import Workplace, dask_cluster, local_processes, work_through
from pipeline.jobs.progress import progress
from pipeline.sharding.finish_folder import finish
from pipeline.sharding.plan import Plan, Settings, plain_settings
from pipeline.sharding.tar_job import Job, Origin, make_tar
from pipeline.sharding.tar_record import WORK, read_record, record_path
from shards.command import UserError
from shards.format import MANIFEST, Manifest, read_manifest, tar_name
from shards.json_file import read_object
from shards.lock import locked_output
from shards.storage.places import Folder, RemotePath
from shards.writer import write_atomically

_PLAN = "plan.json"
_LOCK = "lock"


def shard(
    plan: Plan,
    out: Path,
    *,
    workers: int,
    dask: str | None = None,
    finished: Callable[[str], None] = lambda tar: None,
) -> tuple[Manifest, bool]:
    """Write the plan's tars into a folder, or what an interrupted run left of them.

    Args:
        plan: of the whole folder.
        out: the folder.
        workers: processes of this machine.
        dask: address of a Dask scheduler whose workers do the work instead.
        finished: called with the name of each tar that is finished, those of an interrupted run first; its labels may
            still change where identities are dropped.

    Returns:
        the manifest, and whether the folder had been finished before.

    Raises:
        UserError: the folder is in use, holds something else, or was begun with other parameters.
        OSError: it cannot be written.
    """
    out = out.absolute()
    if manifest := _finished(plan, out):
        return manifest, True
    _refuse_foreign_files(out)
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with locked_output(out / WORK / _LOCK, out):
        # Another command may have finished the folder in between.
        if manifest := _finished(plan, out):
            return manifest, True
        _claim_parameters(plan, out)
        staging = _sweep(out)
        with dask_cluster(dask) if dask else local_processes(workers) as workplace:
            _make_tars(plan, out, staging, workplace, finished)
        manifest = finish(plan, out)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest, False


def _finished(plan: Plan, out: Path) -> Manifest | None:
    """Return the manifest of a finished folder, None where there is none.

    Raises:
        UserError: it was written with other parameters.
    """
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out)
    _refuse_others(_finished_parameters(manifest), plan.parameters(), out)
    # The manifest is written last: what else is there was left by a run that was killed right after.
    shutil.rmtree(out / WORK, ignore_errors=True)
    return manifest


def finished_there(plan: Plan, target: RemotePath) -> Manifest | None:
    """Return the manifest of a folder in a bucket that this plan has written, None where there is no folder.

    Raises:
        UserError: there is one that was written with other parameters, or the storage fails.
    """
    try:
        (target / MANIFEST).state()
    except FileNotFoundError:
        return None
    manifest = read_manifest(target)
    _refuse_others(_finished_parameters(manifest), plan.parameters(), target)
    return manifest


def refuse_unusable(out: Path) -> None:
    """Refuse a folder that is in use or holds something else, before hours of work are planned for it.

    Raises:
        UserError: it is in use, or holds something this command did not begin.
    """
    if (out / MANIFEST).is_file():
        return
    _refuse_foreign_files(out)
    if (out / WORK / _LOCK).is_file():
        with locked_output(out / WORK / _LOCK, out):
            pass


def _make_tars(plan: Plan, out: Path, staging: Path, workplace: Workplace, finished: Callable[[str], None]) -> None:
    """Write every tar that has no record yet, and tell of each that has one."""
    left = [number for number in range(plan.tars) if not is_done(out, number)]
    for number in sorted({*range(plan.tars)} - {*left}):
        finished(tar_name(number))
    origins = tuple(Origin(source.name, source.root.absolute(), source.framing) for source in plan.sources)
    job = Job(origins, out, staging, plan.settings.face_format(), plan.settings.min_photos)
    sizes = plan.photos_per_tar()
    tasks = ((plan.tar_contents(number), job) for number in left)
    with progress("sharding", int(sizes[left].sum()), lost="rejected") as advance:

        def tell(done: tuple[int, int, int]) -> None:
            number, *counts = done
            advance(*counts)
            if is_done(out, number):
                finished(tar_name(number))

        work_through(workplace, make_tar, tasks, tell, kept="finished tars are kept")
    if unseen := [number for number in left if not is_done(out, number)]:
        raise UserError(
            f"a worker wrote {tar_name(unseen[0])}, but it is not in {out}; the photos and --out must lie on storage "
            "that all machines see under the same paths"
        )


def is_done(out: Path, number: int) -> bool:
    """Tell whether a tar and its record are there, and the tar is as long as the record says."""
    tar, record = out / tar_name(number), record_path(out, number)
    try:
        return tar.stat().st_size == read_record(record).bytes
    except (OSError, ValueError):
        return False


def _claim_parameters(plan: Plan, out: Path) -> None:
    """Save the parameters in a new folder; in a folder already begun, refuse different ones."""
    path = out / WORK / _PLAN
    wanted = {**plan.parameters(), **plan.circumstances()}
    if not path.is_file():
        write_atomically(path, json.dumps(wanted).encode())
        return
    try:
        begun = read_object(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove {out} and begin again") from error
    _refuse_others(begun, wanted, out)


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


def _refuse_others(begun: dict[str, Any], wanted: dict[str, Any], out: Folder) -> None:
    """Refuse parameters other than those the folder was begun with, naming both values."""
    differing = [name for name in wanted if begun.get(name) != wanted[name]]
    if wanted["codec"] != "jpg" and "quality" in differing:
        differing.remove("quality")
    if differing:
        name, one, other = _first_difference(differing[0], begun.get(differing[0]), wanted[differing[0]])
        raise UserError(
            f"{out} was begun with {name} {one}, now {name} {other} is asked for; "
            "use the same parameters or another --out"
        )


def _first_difference(name: str, begun: Any, wanted: Any) -> tuple[str, Any, Any]:
    """Find the first difference inside two nested values; return its name and both values."""
    if isinstance(begun, list) and isinstance(wanted, list) and len(begun) == len(wanted):
        pairs: Any = zip((f"{name} {number + 1}" for number in range(len(wanted))), begun, wanted, strict=True)
    elif isinstance(begun, dict) and isinstance(wanted, dict):
        pairs = ((f"{name}: {key}", begun.get(key), wanted.get(key)) for key in {**wanted, **begun})
    else:
        return name, begun, wanted
    return _first_difference(*next(pair for pair in pairs if pair[1] != pair[2]))


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
