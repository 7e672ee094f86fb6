"""The commands that the documentation shows, taken out of its pages."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "Datasets/README.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
)
PROGRAMS = ("python", "torchrun", "make", "docker", "cp", "source", "pip", "tensorboard")
VENV = ".venv/bin/"

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<body>.*?)^```", re.M | re.S)
_PROGRAM = rf"(?:{re.escape(VENV)})?(?:{'|'.join(PROGRAMS)})\s|docker/\w+\.sh\b"
_COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:{_PROGRAM})")
_SPAN = re.compile(rf"`((?:{_PROGRAM})[^`]*)`")


@dataclass(frozen=True)
class Documented:
    """A command as a page shows it.

    Attributes:
        page: relative to the project.
        line: of the page where it begins.
        words: of the command, as a shell splits them.
        whole: from a block, to be run as it stands; else from a sentence, where it may be shortened.
    """

    page: str
    line: int
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def commands() -> list[Documented]:
    """Return every command of every page, in order."""
    return [command for page in PAGES for command in in_page(page, (ROOT / page).read_text(encoding="utf-8"))]


def in_page(page: str, text: str) -> Iterator[Documented]:
    """Yield the commands in blocks of a page, then those in its sentences.

    >>> [c.words for c in in_page("x", "```\\nmake test  # all\\nok\\n```\\nand `python -m a b`")]
    [('make', 'test'), ('python', '-m', 'a', 'b')]
    """
    for block in _BLOCK.finditer(text):
        if block["language"] not in ("", "sh", "bash"):
            continue
        first = text.count("\n", 0, block.start("body")) + 1
        for number, shown in _joined(block["body"]):
            if _COMMAND.match(shown):
                words = _without_settings(shlex.split(shown, comments=True))
                yield Documented(page, first + number, tuple(words), whole=True)
    prose = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for span in _SPAN.finditer(prose):
        words = shlex.split(span[1].replace("\n", " "))
        yield Documented(page, prose.count("\n", 0, span.start()) + 1, tuple(words), whole=False)


def _joined(block: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a block with their numbers, those that end in a backslash joined to the next."""
    waiting, start = "", 0
    for number, line in enumerate(block.splitlines()):
        start = start if waiting else number
        waiting += line.strip()
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        yield start, waiting
        waiting = ""


def _without_settings(words: list[str]) -> list[str]:
    """Drop VARIABLE=value in front of a command."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words
