"""The shards are plain: webdataset and DALI's own reader find every sample once."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import webdataset
from nvidia.dali import Pipeline, fn, types

from shards.format import read_manifest
from shards.index import ShardIndex


def test_webdataset_reads_every_sample_once(shards: Path) -> None:
    index = ShardIndex.open(shards)
    tars = [str(shards / tar.name) for tar in read_manifest(shards).tars]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert len({sample["__key__"] for sample in samples}) == len(samples) == index.photos
    for sample in samples:
        label = int.from_bytes(sample["label"], "little")
        assert json.loads(sample["json"])["identity"] == index.names[label]
        assert len(sample["label"]) == 4
    decoded = next(iter(webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8")))
    assert decoded["jpg"].shape == (32, 32, 3)


def test_dali_reads_every_sample_once(shards: Path) -> None:
    index = ShardIndex.open(shards)
    tars = [shards / tar.name for tar in read_manifest(shards).tars]
    pipeline = Pipeline(batch_size=index.photos, num_threads=1, device_id=None)
    with pipeline:
        faces, labels = fn.readers.webdataset(
            paths=[str(tar) for tar in tars],
            index_paths=[str(tar.with_suffix(".idx")) for tar in tars],
            ext=["jpg", "label"],
            dtypes=[types.DALIDataType.UINT8, types.DALIDataType.INT32],
        )
        pipeline.set_outputs(fn.decoders.image(faces, device="cpu"), labels)
    pipeline.build()
    decoded, found = pipeline.run()
    assert np.array(decoded.as_tensor()).shape == (index.photos, 32, 32, 3)
    counts = Counter(np.array(found.as_tensor()).ravel().tolist())
    assert counts == {label: int(n) for label, n in enumerate(np.diff(index.first))}
