"""Damage every file that an evaluation reads: `python -m tests.campaigns.mutate_evaluation --cases 5000`.

Each case damages one file and lets the real reader have it. It must be read, name what is missing, or end as a mistake
told in one line. Anything else is a finding, printed with the numbers that repeat it.
"""

import pickle
from pathlib import Path

from shards.command import UserError
from tests.campaigns.mutations import Reader, campaign


def readers(scratch: Path) -> dict[str, Reader]:
    """Write sound inputs and return who reads them."""
    # Deferred: every process that reads a .mat file imports this module anew.
    import numpy as np
    import torch

    from evaluation.lists.bin_set import read_bin_set
    from evaluation.lists.ijb_lists import read_ijb_lists, read_search_lists
    from evaluation.lists.pair_list import read_pair_list
    from evaluation.models.pictures import read_picture
    from evaluation.models.stored_embeddings import StoredEmbeddings
    from evaluation.protocols.selection import lfw, scface, survface, survface_openset, tinyface
    from pipeline.synthetic.write import write_dataset
    from training.networks.backbone_file import load_backbone
    from training.networks.backbones import build_backbone

    for layout in ("lfw", "scface", "survface", "tinyface"):
        write_dataset(scratch, layout, identities=4, photos=4, seed=0)
    lists, surveillance = scratch / "lists", scratch / "QMUL-SurvFace"

    def mat(name: str) -> Path:
        return next(scratch.rglob(name))

    state, vectors = scratch / "net_backbone.pth", scratch / "vectors.npz"
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), state)
    np.savez(vectors, names=np.array(["a.jpg", "b.jpg"]), vectors=np.ones((2, 8), np.float32))
    bins, own = scratch / "set.bin", scratch / "pairs.txt"
    bins.write_bytes(
        pickle.dumps(([b"one", b"two", np.frombuffer(b"four", np.uint8), b"five"], np.array([True, False])))
    )
    own.write_text("anna/1.jpg anna/2.jpg 1\nanna/1.jpg bert/1.jpg 0\n")
    write_dataset(scratch, "ijbc", identities=4, photos=2, seed=0)
    write_dataset(scratch, "bin", identities=2, photos=2, seed=0)
    ijb, rendered = scratch / "IJBC", scratch / "BIN" / "rendered.bin"

    def search() -> object:
        return read_search_lists(ijb, read_ijb_lists(ijb))

    of_ijb = {path.name: Reader(path, search) for path in sorted((ijb / "meta").iterdir())}
    picture = next((scratch / "LFW").rglob("*.jpg"))
    return {
        "pairs.txt": Reader(lists / "lfw_pairs.txt", lambda: lfw.read(scratch / "LFW", [lists])),
        "LFW.csv": Reader(lists / "LFW.csv", lambda: lfw.read(scratch / "LFW", [lists])),
        "scface.csv": Reader(lists / "scface_distance1.csv", lambda: scface.read(scratch / "SCface", [lists])),
        "name pairs.mat": Reader(mat("positive_pairs_names.mat"), lambda: survface.read(surveillance, [])),
        "open set.mat": Reader(mat("gallery_img_ID_pairs.mat"), lambda: survface_openset.read(surveillance, [])),
        "tinyface.mat": Reader(mat("probe_img_ID_pairs.mat"), lambda: tinyface.read(scratch / "TinyFace", [])),
        "state dict.pth": Reader(state, lambda: load_backbone(state)),
        "embeddings.npz": Reader(vectors, lambda: StoredEmbeddings(vectors)),
        "set.bin": Reader(bins, lambda: read_bin_set(bins)),
        "own pairs.txt": Reader(own, lambda: read_pair_list(own)),
        **of_ijb,
        "rendered.bin": Reader(rendered, lambda: read_bin_set(rendered)),
        "picture.jpg": Reader(picture, lambda: read_picture(picture)),
    }


def judged(_name: str, one: Reader, _sound: bytes, _damaged: bytes) -> str:
    """Have a damaged file read."""
    from evaluation.models.pictures import PictureError

    try:
        one.read()
    except UserError as mistake:
        assert str(mistake).strip()
        return "one line"
    except PictureError:
        return "named with its reason"
    return "read"


if __name__ == "__main__":
    campaign("python -m tests.campaigns.mutate_evaluation", __doc__, 5_000, readers, judged)
