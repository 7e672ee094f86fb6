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
        ("photo", 300),
        ("landmark list", 250),
        ("list to records", 10),
        ("train", 300),
        ("property", 100),
        ("sources.toml", 150),
        ("unit record", 200),
        ("shard-", 250),
        ("manifest.json", 200),
        (".npy", 250),
    ],
)
def test_damage_is_survived(found: dict[str, Reader], part: str, cases: int) -> None:
    chosen = {name: one for name, one in found.items() if part in name}
    outcomes, findings = run(chosen, range(cases), seed=1, judge=judged)
    assert not findings, findings[0]
    assert sum(outcomes.values()) == cases
