"""The digest of shard folders: the content counts, not how it is written."""

import json
from pathlib import Path

from shards.digest import manifest_digest
from shards.format import MANIFEST


def folder(root: Path, name: str, content: dict[str, int]) -> Path:
    (root / name).mkdir()
    (root / name / MANIFEST).write_text(json.dumps(content))
    return root / name


def test_the_same_content_in_the_same_order_of_folders_is_the_same_data(tmp_path: Path) -> None:
    one, other = folder(tmp_path, "a", {"x": 1, "y": 2}), folder(tmp_path, "b", {"x": 3})
    assert manifest_digest([one]) == manifest_digest([folder(tmp_path, "c", {"y": 2, "x": 1})])
    digests = [[one], [other], [one, other], [other, one]]
    assert len({manifest_digest(folders) for folders in digests}) == len(digests)
