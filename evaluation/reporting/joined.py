"""Reports of different days side by side: only what was measured on the same pictures, aligned alike."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluation.metrics.figures import Outcome
from evaluation.reporting.results import Model, Report


@dataclass(frozen=True)
class Joined:
    """What stands side by side, and what does not.

    Attributes:
        reports: each of the protocols that the same files share.
        apart: a sentence on every protocol of a file that stands beside no other, and why.
    """

    reports: tuple[Report, ...]
    apart: tuple[str, ...]


def joined(reports: dict[str, Report]) -> Joined:
    """Put the models of several reports side by side, protocol by protocol.

    Args:
        reports: by the name of their file.
    """
    labelled = _labelled(reports)
    blocks: dict[tuple[str, ...], dict[str, tuple[Outcome, ...]]] = {}
    apart: list[str] = []
    for protocol in dict.fromkeys(name for report in reports.values() for name in report.outcomes):
        groups: dict[object, list[str]] = {}
        for name, report in reports.items():
            if protocol in report.outcomes:
                groups.setdefault(_key(name, report, protocol), []).append(name)
            else:
                apart.append(f"{protocol}: not in {name}.")
        # The largest group, of equals that of the first file.
        together = max(groups.values(), key=len)
        for group in groups.values():
            if group is not together:
                apart += [_reason(protocol, name, together[0], reports) for name in group]
        if len(together) > 1 or len(reports) == 1:
            outcomes = tuple(outcome for name in together for outcome in reports[name].outcomes[protocol])
            blocks.setdefault(tuple(together), {})[protocol] = outcomes
    made = []
    for names, found in blocks.items():
        models = tuple(model for name in names for model in labelled[name])
        pairs = reports[names[0]].pairs if len(names) == 1 else None
        made.append(replace(reports[names[0]], models=models, outcomes=found, skipped={}, pairs=pairs))
    return Joined(tuple(made), tuple(apart))


def _key(name: str, report: Report, protocol: str) -> object:
    """Return what two reports of a protocol share only where their figures may stand side by side."""
    outcome = report.outcomes[protocol][0]
    return outcome.fingerprint or name, outcome.alignment, report.settings.match_gallery


def _reason(protocol: str, name: str, other: str, reports: dict[str, Report]) -> str:
    """Say why a file's protocol stands apart from another's."""
    mine, theirs = (reports[one].outcomes[protocol][0] for one in (name, other))
    told = f"{protocol}: {name} stands apart from {other}:"
    for one, outcome in ((name, mine), (other, theirs)):
        if not outcome.fingerprint:
            return f"{told} {one} carries no fingerprint of its pictures; evaluate again."
    if mine.alignment != theirs.alignment:
        each = f"{name}: {mine.alignment.sentence} {other}: {theirs.alignment.sentence}"
        return f"{told} faces are aligned otherwise. {each}"
    if mine.fingerprint != theirs.fingerprint:
        return (
            f"{told} other pictures, names or landmarks (fingerprints {mine.fingerprint:.8}, {theirs.fingerprint:.8})."
        )
    return f"{told} one with another --match-gallery."


def _labelled(reports: dict[str, Report]) -> dict[str, tuple[Model, ...]]:
    """Tell models of the same label apart by their files, and by settings in which the files differ."""
    labels = [model.label for report in reports.values() for model in report.models]
    settings = [report.settings for report in reports.values()]
    found = {}
    for name, report in reports.items():
        suffix = ""
        if len({one.flip for one in settings}) > 1 and report.settings.flip:
            suffix += ", with mirror images"
        if len({one.precision for one in settings}) > 1 and report.settings.precision != "float32":
            suffix += f", {report.settings.precision}"
        found[name] = tuple(
            replace(model, label=f"{model.label}{suffix}{f' ({name})' if labels.count(model.label) > 1 else ''}")
            for model in report.models
        )
    return found


def short_names(paths: Sequence[str]) -> list[str]:
    """Return the folders of results.json files where they tell them apart, else the paths.

    >>> short_names(["runs/a/results.json", "runs/b/results.json"])
    ['a', 'b']
    """
    folders = [path.replace("\\", "/").split("/")[-2] if "/" in path else path for path in paths]
    return folders if len(set(folders)) == len(folders) else list(paths)
