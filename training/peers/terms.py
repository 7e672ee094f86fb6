"""What the published weights of other projects may be used for, in a line; docs/licences.md says more."""

from training.peers.inception_resnet import INCEPTION_RESNETS
from training.peers.iresnet import IRESNET_UNITS
from training.peers.keypoint_transformer import KEYPOINT_TRANSFORMERS
from training.peers.mobilefacenet import MOBILEFACENETS
from training.peers.vision_transformer import VISION_TRANSFORMERS

_INSIGHTFACE = (*IRESNET_UNITS, *MOBILEFACENETS, *VISION_TRANSFORMERS)


def terms_of_weights(backbone: str) -> str:
    """Return what the weights that a project publishes for a network may be used for; "" for networks of our own.

    >>> terms_of_weights("evolve-ir50")
    'weights published by face.evoLVe: research only, by their training sets'

    Args:
        backbone: name of the network.
    """
    project = _project(backbone)
    if project == "InsightFace":
        return "weights published by InsightFace: non-commercial research only"
    return f"weights published by {project}: research only, by their training sets" if project else ""


def _project(backbone: str) -> str:
    if backbone in _INSIGHTFACE:
        return "InsightFace"
    if backbone in INCEPTION_RESNETS:
        return "facenet-pytorch"
    if backbone in KEYPOINT_TRANSFORMERS:
        return "CVLface"
    projects = {"adaface": "AdaFace and CVLface", "evolve": "face.evoLVe"}
    return projects.get(backbone.partition("-")[0], "")
