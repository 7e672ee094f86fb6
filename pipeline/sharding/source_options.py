"""The data sources of a run, read from the command line or a TOML file."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.alignment.align import TEMPLATES
from pipeline.sources import datasets
from pipeline.sources.datasets import Source
from pipeline.sources.recordio import recordio
from shards.command import UserError

# The template on which a data set's photos stand or, without landmarks, the only one it can have.
_TEMPLATE_OF = {"recordio": "centred", **dict.fromkeys(datasets.LOW_RESOLUTION, "whole")}
# Which options say something of a data set; the others would be overlooked in silence.
_TAKES = {
    "vggface2": {"root", "landmarks", "exclude"},
    "orl": {"people", "exclude"},
    "folder": {"root", "landmarks", "aligned", "unlabelled", "exclude"},
    "recordio": {"root", "exclude"},
    "survface": {"root", "exclude"},
    "scface": {"root", "landmarks", "exclude"},
    "tinyface": {"root", "exclude"},
}
DATASETS = tuple(_TAKES)


@dataclass(frozen=True)
class SourceOptions:
    """One source as a user names it.

    Attributes:
        dataset: layout of the input.
        name: of the source among several; the data set's by default.
        root: folder of the data set.
        landmarks: lists.
        aligned: a folder's photos are aligned faces.
        unlabelled: nobody knows whom a folder's photos show.
        people: of ORL.
        exclude: file of identities to leave out.
    """

    dataset: str
    name: str = ""
    root: Path | None = None
    landmarks: tuple[Path, ...] = ()
    aligned: bool = False
    unlabelled: bool = False
    people: str = "train"
    exclude: Path | None = None


def open_sources(options: Any) -> tuple[list[Source], str]:
    """Return the sources that the options of `pipeline.shard` name, and the template of their faces.

    Raises:
        UserError: the options contradict each other or the data sets.
    """
    if (options.sources is None) == (options.dataset is None):
        raise UserError("give either --dataset, for one source, or --sources FILE.toml, for several")
    if options.sources is not None:
        if given := _given(SourceOptions("", **_named(options))):
            raise UserError(f"--{given[0]} beside --sources; name it in {options.sources}, under its [[source]]")
        chosen = read_source_file(options.sources)
    else:
        chosen = [SourceOptions(options.dataset, **_named(options))]
    template = options.template or _default_template(chosen)
    return [_open(one, template, alone=len(chosen) == 1) for one in chosen], template


def _named(options: Any) -> dict[str, Any]:
    """Return the options of the command line that say something of a single source."""
    names = ("root", "aligned", "unlabelled", "people", "exclude")
    return {"landmarks": tuple(options.landmarks), **{name: getattr(options, name) for name in names}}


def _given(one: SourceOptions) -> list[str]:
    """Return the options of a source that are not as they are by default."""
    options = (field for field in fields(SourceOptions) if field.name not in ("dataset", "name"))
    return [field.name for field in options if getattr(one, field.name) != field.default]


def read_source_file(path: Path) -> list[SourceOptions]:
    """Read a TOML file with a table `[[source]]` for every source; paths are relative to the file.

    Raises:
        UserError: it cannot be read, or says something unknown.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); expected TOML with a table [[source]] each") from error
    tables = data.get("source")
    if set(data) != {"source"} or not isinstance(tables, list) or not tables:
        raise UserError(f"{path} holds {', '.join(data) or 'nothing'}; expected tables [[source]] and nothing else")
    chosen = [_from_table(table, path) for table in tables]
    names = [one.name or one.dataset for one in chosen]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f'{path} names two sources {repeated!r}; tell them apart with name = "..."')
    return chosen


def _from_table(table: Any, path: Path) -> SourceOptions:
    known = [field.name for field in fields(SourceOptions)]
    if not isinstance(table, dict) or (strange := next((key for key in table if key not in known), None)):
        what = repr(strange) if isinstance(table, dict) else "something that is no table"
        raise UserError(f"{path} has {what} under [[source]]; expected {', '.join(known)}")
    if table.get("dataset") not in DATASETS:
        raise UserError(f"{path} has dataset {table.get('dataset')!r}; choose one of {', '.join(DATASETS)}")
    kinds: dict[str, type] = {"landmarks": list, "aligned": bool, "unlabelled": bool}
    for key, value in table.items():
        if not isinstance(value, kinds.get(key, str)):
            raise UserError(f"{path} has {key} = {value!r}; expected a {kinds.get(key, str).__name__}")
    if "/" in table.get("name", ""):
        raise UserError(f"{path} names a source {table['name']!r}; a name has no /")
    base = path.absolute().parent
    places = {key: base / table[key] for key in ("root", "exclude") if key in table}
    return SourceOptions(**{**table, **places, "landmarks": tuple(base / str(p) for p in table.get("landmarks", ()))})


def _default_template(chosen: Sequence[SourceOptions]) -> str:
    """Return the template that fits all sources; those without landmarks follow the others."""
    wanted = {_TEMPLATE_OF.get(one.dataset, "paper") for one in chosen}
    if len(wanted) > 1:
        wanted.discard("whole")
    if len(wanted) > 1:
        raise UserError(
            "the sources stand on different templates (recordio on centred, others on paper); give --template"
        )
    return wanted.pop()


def _open(one: SourceOptions, template: str, *, alone: bool) -> Source:
    source = _layout(one, template, alone=alone)
    if one.exclude is not None:
        source = datasets.without_identities(source, one.exclude)
    return replace(source, name=one.name or source.name)


def _layout(one: SourceOptions, template: str, *, alone: bool) -> Source:
    if strange := next((name for name in _given(one) if name not in _TAKES[one.dataset]), None):
        raise UserError(
            f"{strange} says nothing of dataset {one.dataset}, which takes {', '.join(sorted(_TAKES[one.dataset]))}; "
            f"leave {strange} out"
        )
    if one.dataset == "orl":
        if one.people not in ("train", "held-out", "all"):
            raise UserError(f"people {one.people!r}; choose train, held-out or all")
        return datasets.orl(one.people)
    if one.root is None:
        raise UserError(f"--dataset {one.dataset} needs --root, the folder of the data set")
    if one.dataset in datasets.LOW_RESOLUTION:
        if alone and template in TEMPLATES:
            raise UserError(f"{one.dataset} has no landmarks, so template {template} cannot be; leave --template out")
        return datasets.low_resolution(one.dataset, one.root)
    if one.dataset == "recordio":
        return recordio(one.root)
    if one.dataset == "scface":
        if len(one.landmarks) > 1:
            raise UserError("scface takes one folder for --landmarks, that of its four lists")
        return datasets.scface(one.root, one.landmarks[0] if one.landmarks else None)
    if one.dataset == "vggface2":
        return datasets.vggface2(one.root, one.landmarks)
    aligned = one.aligned or (template == "whole" and not one.landmarks)
    return datasets.folder(one.root, one.landmarks, aligned=aligned, unlabelled=one.unlabelled)
