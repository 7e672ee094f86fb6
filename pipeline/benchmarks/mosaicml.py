"""mosaicml-streaming beside the loader: its data set written, and runs measured, by an interpreter that has it."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pipeline.benchmarks.loader_ways import Task
from pipeline.benchmarks.measured import Measured
from shards.command import UserError
from shards.index import ShardIndex

# The package that holds `pipeline`, which may itself lie in another.
_ROOT = Path(__file__).parents[len(__package__.split("."))]


@dataclass(frozen=True)
class Mosaicml:
    """The photos of a task's shards in the library's layout.

    Attributes:
        python: interpreter of an environment with the library and opencv-python-headless.
        folder: what was written.
        task: what every way is asked to do.
    """

    python: Path
    folder: Path
    task: Task

    @staticmethod
    def written(python: Path, task: Task, folder: Path) -> "Mosaicml":
        """Write as many photos as a run takes, so that a run fetches none twice.

        Raises:
            UserError: no such interpreter, or it lacks the library.
        """
        tars = [str(task.shards / tar.name) for tar in ShardIndex.open(task.shards).manifest.tars]
        # The workers take batches ahead.
        batches = task.warm_up + task.batches + 4 * task.workers
        _run(python, "write", str(folder), str(batches * task.batch * len(task.sizes)), *tars)
        return Mosaicml(python, folder, task)

    def measure(self, server: str | None, local: Path) -> Measured:
        """Measure a run.

        Args:
            server: address that serves the folder; None for the folder itself.
            local: new folder for what is fetched, or the folder itself.
        """
        task = self.task
        asked = {
            "remote": None if server is None else "s3://bucket",
            "local": str(local),
            "sizes": task.sizes,
            "batch": task.batch,
            "batches": task.batches,
            "warm_up": task.warm_up,
            "workers": task.workers,
        }
        told = _run(self.python, "measure", json.dumps(asked), server=server).splitlines()[-1]
        return Measured(**json.loads(told))


def _run(python: Path, *arguments: str, server: str | None = None) -> str:
    """Return what the peer prints."""
    # Its client asks for some key, which the server of the benchmark does not look at.
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "none")
    environment = os.environ | keys | {"PYTHONPATH": str(_ROOT)} | ({"S3_ENDPOINT_URL": server} if server else {})
    command = [str(python), "-c", f"from {__package__}.mosaicml_peer import main; main()", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(
            f"--mosaicml {python}: {error.strerror}; give the interpreter of an environment with it"
        ) from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        assert last.startswith("ModuleNotFoundError"), done.stderr
        raise UserError(f"--mosaicml {python}: {last}; it needs mosaicml-streaming and opencv-python-headless")
    return done.stdout
