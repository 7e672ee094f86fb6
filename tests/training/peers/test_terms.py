"""Every network of another project says what its published weights may be used for."""

from training.networks.backbones import BACKBONES
from training.peers.state_dicts import PEER_BACKBONES
from training.peers.terms import terms_of_weights


def test_networks_of_others_have_terms_and_our_own_have_none() -> None:
    assert all("research only" in terms_of_weights(name) for name in PEER_BACKBONES)
    assert not any(terms_of_weights(name) for name in BACKBONES if name not in PEER_BACKBONES)
    assert "non-commercial" in terms_of_weights("iresnet50")
    assert "AdaFace" in terms_of_weights("adaface-ir18")
    assert not terms_of_weights("onnx")
