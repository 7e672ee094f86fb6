"""Progress of a run over photos: a bar on a terminal, otherwise a line every few seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5


@contextmanager
def progress(title: str, photos: int, *, lost: str, what: str = "photos") -> Iterator[Callable[[int, int], None]]:
    """Show progress on stderr.

    Args:
        title: what is being done.
        photos: how many there are; 0 where nobody knows.
        lost: what became of those that did not get through, such as "rejected".
        what: they are.

    Yields:
        a function to tell how many more photos got through, and how many more did not.
    """
    console = Console(stderr=True)
    start, through, not_through, last = time.monotonic(), 0, 0, time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{what}, " + "{task.fields[rate]:,.0f}/s, {task.fields[lost]} " + f"{lost},"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=photos or None, rate=0.0, lost=0)

        def advance(more_through: int, more_lost: int) -> None:
            nonlocal through, not_through, last
            through, not_through = through + more_through, not_through + more_lost
            done, now = through + not_through, time.monotonic()
            rate = done / max(now - start, 1e-9)
            bar.update(task, completed=done, rate=rate, lost=not_through)
            if not console.is_terminal and (now - last > _SECONDS_BETWEEN_LINES or done == photos):
                last = now
                left = f", {max(photos - done, 0) / rate:.0f} s left" if photos else ""
                of_all = f"/{photos}" if photos else ""
                print(f"{title}: {done}{of_all} {what}, {rate:,.0f}/s, {not_through} {lost}{left}", file=sys.stderr)

        yield advance
