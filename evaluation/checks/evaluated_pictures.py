"""The pictures that an evaluation uses: every protocol is asked, with a model that notes what it is given."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from evaluation.models.embedder import Embedded
from evaluation.models.pictures import Picture
from evaluation.models.watching import MIRRORED
from evaluation.protocols.own_people import PROTOCOL as OWN_PEOPLE
from evaluation.protocols.selection import Run
from pipeline.alignment.align import TEMPLATES
from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.format import Preprocessing

# Folders of the surveillance sets, which hold many people's pictures, with the person's number before the first _.
_OF_MANY = {
    "verification_images",
    "gallery",
    "mated_probe",
    "unmated_probe",
    "Gallery_Match",
    "Gallery_Distractor",
    "Probe",
    "surveillance_cameras_all",
    "mugshot_frontal_original_all",
}
_NUMBERED = re.compile(r"(\d+)_")


@dataclass(frozen=True, eq=False)
class EvaluatedPicture:
    """A picture of a protocol, in full and not mirrored.

    Attributes:
        protocol: that uses it, by the name of `selection.plan`.
        picture: itself.
    """

    protocol: str
    picture: Picture

    @property
    def person(self) -> str:
        """Whom it shows, as far as folder or name tell; "" if they do not."""
        parts = PurePosixPath(self.picture.name).parts
        if self.picture.encoded is not None or len(parts) < 2:
            return ""
        if self.protocol == OWN_PEOPLE:
            # Behind the name of the part: gallery, probes or strangers.
            return "/".join(parts[1:-1])
        if parts[-2] in _OF_MANY:
            numbered = _NUMBERED.match(parts[-1])
            return numbered[1] if numbered else ""
        return "/".join(parts[:-1])

    @property
    def names(self) -> frozenset[str]:
        """What the person may be called elsewhere: the folders that the picture lies in, from each of them on."""
        parts = self.person.split("/")
        return frozenset(filter(None, ("/".join(parts[start:]) for start in range(len(parts)))))


class _Noting:
    """Stands for a model, and notes the pictures that it is given."""

    hint = "check that the data set's folder is the one its lists belong to"

    def __init__(self, form: Preprocessing) -> None:
        self.preprocessing = form
        self.pictures: dict[tuple[Path, str], Picture] = {}

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Give every picture an embedding that says nothing."""
        for picture in pictures:
            name = picture.name.removesuffix(MIRRORED)
            plain = replace(picture.preparation, low=None, mirrored=False)
            self.pictures.setdefault((picture.path, name), replace(picture, name=name, preparation=plain))
        vectors = np.random.default_rng(0).standard_normal((len(pictures), 4)).astype(np.float32)
        return Embedded(vectors, {})

    def summary(self) -> str:
        """Return how many were noted."""
        return f"{len(self.pictures):,} noted"


def evaluated_pictures(runs: Mapping[str, Run], form: Preprocessing) -> list[EvaluatedPicture]:
    """Return every picture of some protocols, prepared in some form, each once a protocol.

    Args:
        runs: the protocols.
        form: of a model or of shards; of whole pictures stand those protocols that align on the centred template.
    """
    if form.template not in TEMPLATES:
        form = preprocessing_of("centred", form.size)
    found = []
    for protocol, run in runs.items():
        noting = _Noting(form)
        run(noting)
        found += [EvaluatedPicture(protocol, picture) for picture in noting.pictures.values()]
    return found
