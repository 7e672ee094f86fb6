"""Damaged models, run folders and results are read or end in one line; the campaign does it by the thousand."""

import pytest

from tests.campaigns.damaged_models import know_linear
from tests.campaigns.mutate_evaluation import judged
from tests.campaigns.mutate_models import readers
from tests.campaigns.mutations import Reader, run


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    know_linear()
    return readers(tmp_path_factory.mktemp("mutations"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "cases"),
    [
        ("ours.pt", 40),
        (".pth", 30),
        ("config.json beside", 20),
        ("safetensors", 40),
        ("onnx, metadata", 20),
        ("torchscript", 30),
        ("resume", 60),
        ("page", 8),
        ("embeddings", 60),
        ("results", 60),
    ],
)
def test_damage_is_survived(found: dict[str, Reader], part: str, cases: int) -> None:
    chosen = {name: one for name, one in found.items() if part in name}
    outcomes, findings = run(chosen, range(cases), seed=1, judge=judged)
    assert not findings, findings[0]
    assert sum(outcomes.values()) == cases
