"""Runs of a few steps do without their page."""

import pytest

from tests.forked import without_page


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.engine.loop.try_to_write_page", without_page)
