"""What reading from a bucket or web server may take: requests, time, memory and disk."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """What requests may take.

    Attributes:
        in_flight: most requests at a time of all processes of a machine, each with a connection of its own.
        timeout_s: longest time of one try, in seconds.
        patience_s: longest time from the first try of a request to its last, in seconds.
    """

    in_flight: int = 256
    timeout_s: float = 30.0
    patience_s: float = 120.0


@dataclass(frozen=True)
class Kept:
    """What may be kept of what was fetched.

    Attributes:
        memory: most bytes fetched ahead and not yet used, of all processes of a machine.
        cache: folder of a local disk where all that was fetched is kept, None for none.
        cache_bytes: most bytes of it.
    """

    memory: int = 256 << 20
    cache: Path | None = None
    cache_bytes: int = 0


def share_of_process(of_machine: int) -> int:
    """Return what a process may have of something that a machine's processes share, as torchrun counts them."""
    return max(1, of_machine // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
