"""Train from a bucket that fails: `python -m tests.campaigns.bucket_losses --out DIR`.

A job trains on rendered people, the first half of its steps by two processes and the second half by one. Then it does
so from a bucket, without a cache, with a cold and with a warm one; there a share of the requests fails, and each half
is killed once in its middle and goes on with --resume. Every loss must be that of the job on the
local folder, bit by bit.
"""

import os
import random
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from tests.campaigns.kill_trainer import command, live_once, losses, render_shards
from tests.shards.storage.buckets import environment, s3_server
from tests.shards.storage.slow_network import Network, network_before


def train(place: str, run_dir: Path, steps: int, options: list[str], generator: random.Random | None) -> None:
    """Train half of the steps by two processes, the other half by one; kill each half once where a generator is given.

    Raises:
        AssertionError: the job did not come to its end, or could not be killed in time.
    """
    for processes, until in ((2, steps // 2), (1, steps)):
        words = [*command(place, run_dir, processes, until), *options]
        if generator is not None:
            struck, _ = live_once(words, "kill all", generator)
            assert struck, "it ended before it was killed"
        live_once(words, None, random.Random(0))
        found = [step for step, _ in losses(run_dir)]
        assert found == list(range(1, until + 1)), f"{run_dir} holds steps {found}"


def bucket_runs(shards: Path, out: Path, steps: int, failing: float, caches: Mapping[str, bool]) -> Network:
    """Train from the local folder and from a bucket, and compare.

    Args:
        shards: shard folder.
        out: for the runs.
        steps: of each.
        failing: share 0..1 of the requests that get no answer.
        caches: names of the runs from the bucket, and whether each has the cache that they share.

    Returns:
        the network before the bucket, with what it did.
    """
    train(str(shards), out / "local", steps, [], None)
    expected = losses(out / "local")
    with s3_server() as server, network_before(server.address) as network:
        url = server.put(shards, "campaign", "faces")
        os.environ.update(environment(f"http://{network.address}"))
        network.broken, network.latency_s = failing, 0.005
        for seed, (name, cached) in enumerate(caches.items()):
            options = ["--cache", str(out / "cache"), "--cache-gb", "1"] if cached else []
            train(url, out / name, steps, options, random.Random(seed))
            found = losses(out / name)
            wrong = [one for one, other in zip(expected, found, strict=True) if one != other]
            assert not wrong, f"losses of {name} differ from step {wrong[0][0]} on"
            print(f"{name}: all {steps} losses equal; {network.breaks} requests failed so far", flush=True)
    return network


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="steps of each run (default 200)")
    parser.add_argument("--failing", type=float, default=0.01, help="share of the requests that fail (default 0.01)")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards and runs")
    options = parser.parse_args()
    shards = render_shards(options.out)
    caches = {"no cache": False, "cold cache": True, "warm cache": True}
    network = bucket_runs(shards, options.out, options.steps, options.failing, caches)
    assert network.breaks, "no request failed"
    print(f"{network.breaks} requests failed, six kills: every loss equal")


if __name__ == "__main__":
    sys.exit(main())
