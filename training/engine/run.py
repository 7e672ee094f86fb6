"""Open a run: its folder, which one job at a time may use, and its shards, checked against each other."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from pipeline.loading.loader import Loader
from shards.command import UserError
from shards.digest import manifest_digest
from shards.format import Preprocessing
from shards.json_file import read_object
from shards.lock import locked
from shards.storage.places import Folder
from shards.writer import write_atomically
from training.checkpoints.checkpoint import Checkpoint, WeightsFile, latest_checkpoint, load_checkpoint
from training.checkpoints.run_folder import CHECKPOINTS, CONFIG, LOCK
from training.engine.finite_checks import listed
from training.engine.saving import Saver
from training.engine.training_state import Origin, TrainingState, new_state
from training.networks.backbones import fitting_backbone, named_with_points, takes_points
from training.networks.initial_weights import InitialBackbone, fine_tuned, load_initial, load_teacher
from training.networks.input_adapter import adapt_input
from training.peers.onnx_file import model_sha256
from training.peers.onnx_network import ONNX
from training.ranks.machine import decoding_threads
from training.ranks.world import World, broadcast_from_main, errors_end_all_ranks
from training.settings.config import Config, refuse_changes


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes.

    Attributes:
        config: all settings of the run.
        recipe: the name it was started by.
        shards: shard folders.
        run_dir: folder of the run, seen by all processes.
        resume: continue what is there.
        init_from: checkpoint whose backbone a new run begins with, ours or the authors'; the teacher's where there
            is one and this is None.
        teacher: checkpoint of the frozen network that the run learns from, None without one.
        crops: shard folder of real small pictures of the same people, None without one.
    """

    config: Config
    recipe: str
    shards: tuple[Folder, ...]
    run_dir: Path
    resume: bool
    init_from: Path | None = None
    teacher: Path | None = None
    crops: Folder | None = None

    @property
    def folders(self) -> tuple[Folder, ...]:
        """All shard folders: of photos, and last of small pictures."""
        return self.shards if self.crops is None else (*self.shards, self.crops)

    @property
    def shards_named(self) -> str:
        """The shard folders as the user named them."""
        return " ".join(map(str, self.folders))


@dataclass(frozen=True)
class Job:
    """A run that is open: what its steps need.

    Attributes:
        config: of the run.
        run_dir: folder of the run.
        loader: its next batch is that of the state's step.
        state: what the steps change.
        origin: where its checkpoints come from.
        teacher: frozen, on the device; None without one.
    """

    config: Config
    run_dir: Path
    loader: Loader
    state: TrainingState
    origin: Origin
    teacher: nn.Module | None = None


@contextmanager
def locked_run(run: Run, world: World) -> Iterator[Checkpoint | None]:
    """Hold the run's folder, if it is there, against other jobs, and give the checkpoint to continue from.

    Raises:
        UserError: the folder holds a run that must not be continued so, or another job holds it.
    """
    with ExitStack() as locks:
        newest = None
        with errors_end_all_ranks(world):
            if world.is_main and run.run_dir.is_dir():
                locks.enter_context(_locked(run.run_dir))
            if world.is_main and _holds_this_run(run):
                newest = latest_checkpoint(run.run_dir)
                if newest is not None:
                    refuse_changes(load_checkpoint(newest, checked=True).config, run.config.to_dict())
        # The main process has checked the whole file for damage; the others map it and read what they need.
        path = broadcast_from_main(newest)
        begun = None
        with errors_end_all_ranks(world):
            begun = load_checkpoint(path, checked=True) if path is not None else None
        yield begun


@contextmanager
def open_run(run: Run, world: World, begun: Checkpoint | None) -> Iterator[Job]:
    """Open a run, new or at a checkpoint; nothing is written before everything has been checked.

    Raises:
        UserError: the shards, the settings and the checkpoint do not fit together, or the folder cannot be written.
    """
    with ExitStack() as open_until_the_end:
        with errors_end_all_ranks(world):
            _refuse_another_beginning(run, begun)
            teacher = load_teacher(run.teacher, run.config, begun.teacher if begun else None)
            first_weights = run.init_from or run.teacher
            initial = load_initial(first_weights, run.config) if first_weights and begun is None else None
            loader = _open_loader(run, world, begun.step if begun else 0, teacher)
            open_until_the_end.callback(loader.close)
            preprocessing = _check_shards(run, loader, begun, initial)
            if teacher is not None:
                fine_tuned(teacher.preprocessing, loader.preprocessing, teacher.origin.file, run.shards_named)
        with errors_end_all_ranks(world):
            state = new_state(run.config, loader.identities, world, _backbone_of_onnx(run.config, begun, initial))
            adapt_input(state.learner.backbone, preprocessing)
            if initial is not None:
                initial.copy_to(state.learner.backbone)
                if state.average is not None:
                    state.average.restore(state.learner.backbone.state_dict())
                if bad := state.not_finite():
                    raise UserError(
                        f"{initial.origin.file} holds numbers that are not finite, in {listed(bad)}; "
                        "begin with another checkpoint"
                    )
        first = initial.origin if initial else begun.initial if begun else None
        with errors_end_all_ranks(world):
            if world.is_main:
                if not run.run_dir.is_dir():
                    open_until_the_end.enter_context(_new_folder(run.run_dir))
                _note_config(run, first)
        origin = Origin(
            config=run.config.to_dict(),
            recipe=run.recipe,
            preprocessing=preprocessing,
            identities=loader.identities,
            shards_sha256=manifest_digest(run.folders),
            initial=first,
            teacher=teacher.origin if teacher else None,
        )
        if begun is not None:
            with errors_end_all_ranks(world):
                state.restore(begun, run.run_dir / CHECKPOINTS)
        else:
            with closing(Saver(run.run_dir, origin, run.config, world)) as saver:
                saver.save(state)
        frozen = teacher.backbone.requires_grad_(False).eval().to(world.device) if teacher else None
        yield Job(run.config, run.run_dir, loader, state, origin, frozen)


def _backbone_of_onnx(config: Config, begun: Checkpoint | None, initial: InitialBackbone | None) -> nn.Module | None:
    """Return a backbone that came from an ONNX file, whose graph the checkpoint or the file holds; else None."""
    if config.model.backbone != ONNX:
        return None
    if begun is not None:
        return fitting_backbone(ONNX, config.size, config.model.embedding_size, begun.backbone)
    # A copy: the teacher may be the same network.
    return deepcopy(initial.backbone) if initial else None


def _holds_this_run(run: Run) -> bool:
    """Tell whether the folder holds a run, which must be this one."""
    path = run.run_dir / CONFIG
    if not path.is_file():
        return False
    if not run.resume:
        raise UserError(f"{run.run_dir} holds a run; add --resume to continue it or choose another --run-dir")
    try:
        refuse_changes(read_object(path)["config"], run.config.to_dict())
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        print(f"warning: {path} is damaged ({error}); the newest checkpoint is used", file=sys.stderr)
    return True


@contextmanager
def _locked(run_dir: Path) -> Iterator[None]:
    """Hold a run's folder until the end."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(run_dir / LOCK, run_dir, "choose another --run-dir"))
        except PermissionError as error:
            raise _unwritable(run_dir, error) from error
        yield


@contextmanager
def _new_folder(run_dir: Path) -> Iterator[None]:
    """Make a run's folder and hold it."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(run_dir, error) from error
    with _locked(run_dir):
        if (run_dir / CONFIG).exists():
            raise UserError(f"another job has just started a run in {run_dir}; choose another --run-dir")
        yield


def _note_config(run: Run, first: WeightsFile | None) -> None:
    """Write the configuration to the run's folder."""
    try:
        (run.run_dir / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        about = {"recipe": run.recipe, "config": run.config.to_dict(), "initial": asdict(first) if first else None}
        write_atomically(run.run_dir / CONFIG, (json.dumps(about, indent=1) + "\n").encode())
    except OSError as error:
        raise _unwritable(run.run_dir, error) from error


def _unwritable(run_dir: Path, error: OSError) -> UserError:
    return UserError(f"{run_dir} cannot be written ({error.strerror}); name another --run-dir")


def _open_loader(run: Run, world: World, start_step: int, teacher: InitialBackbone | None) -> Loader:
    config = run.config
    return Loader(
        run.shards,
        config.views,
        seed=config.seed,
        global_batch=config.batch,
        sampling=config.sampling,
        mix=config.mix,
        crops=run.crops,
        crop_share=config.crop_share,
        rank=world.rank,
        world=world.size,
        start_step=start_step,
        device="gpu" if world.device.type == "cuda" else "cpu",
        device_id=world.device.index or 0,
        threads=decoding_threads(config.decoding.threads, spoken=world.is_main),
        prefetch=config.decoding.prefetch,
        hardware_load=config.decoding.hardware_load,
        quarantine=run.run_dir / f"quarantine-{world.rank}.csv",
        largest_damaged_share=config.largest_damaged_share,
        points=named_with_points(config.model.backbone) or (teacher is not None and takes_points(teacher.backbone)),
    )


def _refuse_another_beginning(run: Run, begun: Checkpoint | None) -> None:
    """Refuse to continue a run that began with other weights than those named, and a frozen backbone without any."""
    if begun is None:
        if run.init_from is None and run.config.optimizer.frozen_steps:
            raise UserError(
                f"optimizer.frozen_steps {run.config.optimizer.frozen_steps} of a backbone with random weights; "
                "name a checkpoint with --init-from"
            )
    elif run.init_from is not None and run.init_from.is_file():
        old = begun.initial
        if old is None or old.sha256 != model_sha256(run.init_from):
            raise UserError(
                f"the run was started with {f'another file, {old.file}' if old else 'random weights'}, now --init-from "
                f"{run.init_from} is given; leave it out or choose another --run-dir"
            )


def _check_shards(run: Run, loader: Loader, begun: Checkpoint | None, initial: InitialBackbone | None) -> Preprocessing:
    """Refuse shards of another size than the network's, or others than those that the run or its weights started with.

    Returns:
        the preprocessing of the run.
    """
    if (size := loader.preprocessing.size) != run.config.size:
        raise UserError(
            f"{run.shards_named} holds faces of {size} pixels, the network takes {run.config.size}; "
            f"give --size {size} with fitting --views.sizes, or write shards with --size {run.config.size}"
        )
    if initial is not None:
        return fine_tuned(initial.preprocessing, loader.preprocessing, initial.origin.file, run.shards_named)
    if begun is None:
        return loader.preprocessing
    preprocessing = begun.preprocessing
    if begun.initial is None and (differences := preprocessing.differences(loader.preprocessing)):
        raise UserError(f"the checkpoint and {run.shards_named} differ in {differences[0]}; name the run's own shards")
    if begun.identities != loader.identities or begun.shards_sha256 != manifest_digest(run.folders):
        raise UserError(
            f"the run was started on other shards of {begun.identities} identities, {run.shards_named} holds "
            f"{loader.identities}; name the run's own shards"
        )
    return preprocessing
