"""Damaged files of every kind end as rejects, as faults, or in one line; the campaign does the same by the thousand."""

import pytest

from tests.campaigns.mutate_offline import judged, readers
from tests.campaigns.mutations import Reader, run


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return readers(tmp_path_factory.mktemp("mutations"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "cases"),
    [
        ("photo", 150),
        ("landmark list", 120),
        ("list to records", 10),
        ("train", 150),
        ("property", 60),
        ("sources.toml", 80),
        ("unit record", 100),
        ("shard-", 120),
        ("manifest.json", 100),
        (".npy", 120),
    ],
)
def test_damage_is_survived(found: dict[str, Reader], part: str, cases: int) -> None:
    chosen = {name: one for name, one in found.items() if part in name}
    outcomes, findings = run(chosen, range(cases), seed=1, judge=judged)
    assert not findings, findings[0]
    assert sum(outcomes.values()) == cases
