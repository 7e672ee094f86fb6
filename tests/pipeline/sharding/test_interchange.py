"""The shards are plain: webdataset and DALI's own reader find every sample once."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import webdataset
from nvidia.dali import Pipeline, fn, types

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from shards.format import views_size
from shards.index import ShardIndex

KINDS = [("jpg", ()), ("png", ()), ("webp", ()), ("jpg", (8, 12)), ("png", (8, 12)), ("webp", (8, 12))]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}{'-views' if kind[1] else ''}")
def index(
    request: pytest.FixtureRequest, rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory
) -> ShardIndex:
    codec, views = request.param
    out = tmp_path_factory.mktemp("interchange") / codec
    settings = Settings(size=32, codec=codec, stored_views=views, min_tars=3)
    shard(Plan(vggface2(rendered / "VGGFace2", [train_list]), settings), out, workers=1)
    return ShardIndex.open(out)


def tars(index: ShardIndex) -> list[Path]:
    return [index.folder / tar.name for tar in index.manifest.tars]


def test_webdataset_reads_every_sample_once(index: ShardIndex) -> None:
    names = [str(tar) for tar in tars(index)]
    samples = list(webdataset.WebDataset(names, shardshuffle=False))
    assert len({sample["__key__"] for sample in samples}) == len(samples) == index.photos
    for sample in samples:
        label = int.from_bytes(sample["label"], "little")
        assert json.loads(sample["json"])["identity"] == index.names[label]
        assert len(sample["label"]) == 4
        assert len(sample.get("views", b"")) == views_size(index.manifest.stored_views)
    decoded = next(iter(webdataset.WebDataset(names, shardshuffle=False).decode("rgb8")))
    assert decoded[index.manifest.codec].shape == (32, 32, 3)


def test_dali_reads_every_sample_once(index: ShardIndex) -> None:
    extensions = [index.manifest.codec, "label", *(["views"] if index.manifest.stored_views else [])]
    kinds = [types.DALIDataType.UINT8, types.DALIDataType.INT32, types.DALIDataType.UINT8]
    pipeline = Pipeline(batch_size=index.photos, num_threads=1, device_id=None)
    with pipeline:
        faces, *others = fn.readers.webdataset(
            paths=[str(tar) for tar in tars(index)],
            index_paths=[str(tar.with_suffix(".idx")) for tar in tars(index)],
            ext=extensions,
            dtypes=kinds[: len(extensions)],
        )
        pipeline.set_outputs(fn.decoders.image(faces, device="cpu"), *others)
    pipeline.build()
    decoded, found, *views = pipeline.run()
    assert np.array(decoded.as_tensor()).shape == (index.photos, 32, 32, 3)
    counts = Counter(np.array(found.as_tensor()).ravel().tolist())
    assert counts == {label: int(n) for label, n in enumerate(np.diff(index.first))}
    for one in views:
        assert np.array(one.as_tensor()).shape == (index.photos, views_size((8, 12)))
