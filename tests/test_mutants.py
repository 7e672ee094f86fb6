"""The list of faults fits today's source, and the campaign tells a fault that is noticed from one that is not."""

import ast
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaigns.mutants import ROOT, Fault, bench, read_faults

FAULTS = read_faults()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_applies_once_and_leaves_a_program(fault: Fault) -> None:
    sound = (ROOT / fault.file).read_text(encoding="utf-8")
    changed = fault.applied_to(sound)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(sound))
    assert fault.breaks
    package = Path(fault.file).parts[0]
    for test in fault.tests:
        assert (ROOT / test).is_file(), test
        assert Path(test).parts[:2] == ("tests", package)


def test_faults_are_many_and_spread_over_all_packages() -> None:
    assert len(FAULTS) >= 60
    assert max(Counter(fault.name for fault in FAULTS).values()) == 1
    assert min(Counter(Path(fault.file).parts[0] for fault in FAULTS).values()) >= 10
    assert {Path(fault.file).parts[0] for fault in FAULTS} == {"shards", "pipeline", "training", "evaluation"}


def test_a_fault_that_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match="3 times, not once"):
        replace(FAULTS[0], before="a").applied_to("banana")


@pytest.mark.soak
def test_a_harmful_change_is_noticed_and_a_harmless_one_survives() -> None:
    harmful = next(fault for fault in FAULTS if fault.name == "digest-without-order-of-folders")
    harmless = replace(harmful, before="import hashlib", after="import hashlib  # as before")
    with bench() as place:
        assert place.notices(harmful)
        assert not place.notices(harmless)
        assert (place.tree / harmful.file).read_bytes() == (ROOT / harmful.file).read_bytes()
