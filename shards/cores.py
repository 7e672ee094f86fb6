"""The number of CPU cores available to this process."""

import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of processors that this process may keep busy, at least 1.

    Of the machine's, those that its affinity names (taskset, a batch system), and no more than its control group has
    time for (a container's `--cpus`), rounded up.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, time_share(_GROUPS, _own_group()))))


def cores_of_a_process(processes: int) -> int:
    """Return how many of the usable processors each of some processes of this machine may keep busy, at least 1."""
    return max(1, usable_cores() // max(1, processes))


def _own_group() -> str:
    """Return the path of this process in the hierarchy of control groups (version 2), or "/" if unknown."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "/"
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")


def time_share(groups: Path, own: str) -> float:
    """Return the processors' worth of time that a group and all those above it leave, infinity without a limit.

    Args:
        groups: where the hierarchy of control groups (version 2) is mounted.
        own: path of the group in it.
    """
    inner = groups / own.strip("/")
    # A container sees its own group as the root, whatever path the kernel reports.
    places = [place for place in (inner, *inner.parents) if place == groups or groups in place.parents]
    return min(map(_limit, places), default=math.inf)


def _limit(group: Path) -> float:
    """Read a group's `cpu.max`: microseconds, or max, in each period of so many."""
    try:
        time, period = (group / "cpu.max").read_text(encoding="ascii").split()
        return math.inf if time == "max" else int(time) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
