"""Pickles of pictures and truths are read whoever wrote them, and none of them runs code."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.lists.bin_set import BinSet, read_bin_set
from shards.command import UserError

PICTURES = [b"\xff\xd8one", b"two\x00", b"\x80three", b"four"]
EXPECTED = BinSet(PICTURES, [True, False])
FORMS: dict[str, Any] = {
    "bytes": (PICTURES, [True, False]),
    "list": [PICTURES, [1, 0]],
    "bytearray": ([bytearray(one) for one in PICTURES], (True, False)),
    "arrays": ([np.frombuffer(one, np.uint8) for one in PICTURES], np.array([True, False])),
    "scalars": (tuple(PICTURES), [np.bool_(True), np.int64(0)]),
    "array of objects": (np.array(PICTURES, dtype=object), np.array([1, 0], dtype=">i4")),
}


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "set.bin"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_form_is_read(tmp_path: Path, form: str, protocol: int) -> None:
    assert read_bin_set(written(tmp_path, pickle.dumps(FORMS[form], protocol=protocol))) == EXPECTED


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Its text is bytes, its numpy had another module, and its bools are numbers."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I4\ntcnumpy\ndtype\n"
        b"(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'four'\ntb"
    )
    text = b"((lp0\nS'\\xff\\xd8one'\naS'two\\x00'\naS'\\x80three'\na" + array + b"a(lp1\nI01\naI00\natp2\n."
    assert read_bin_set(written(tmp_path, text)) == EXPECTED


class Attack:
    """Makes a folder when it is loaded by whoever trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    attack = pickle.dumps((PICTURES, [Attack(tmp_path / "made"), False]), protocol=protocol)
    with pytest.raises(UserError, match=r"posix\.mkdir, no plain data"):
        read_bin_set(written(tmp_path, attack))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'a'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        b"c_codecs\nencode\n(Va\nVzip\ntR.",
        b"Pa\n.",
    ],
)
def test_nothing_else_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match=r"no plain data|damaged"):
        read_bin_set(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (pickle.dumps({}), "holds a dict"),
        (pickle.dumps(([], [])), "0 pictures and 0 truths"),
        (pickle.dumps((PICTURES[:3], [True, False])), "3 pictures and 2 truths"),
        (pickle.dumps((PICTURES[:3] + [7], [True, False])), "no bytes"),
        (pickle.dumps((PICTURES, [True, "no"])), "truths that are none"),
        (b"", "damaged or no pickle"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "damaged or no pickle"),
        (pickle.dumps((PICTURES, [True, False]))[:40], "damaged or no pickle"),
    ],
)
def test_what_is_no_set_of_pairs(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(UserError, match=told):
        read_bin_set(written(tmp_path, content))
    with pytest.raises(UserError, match="cannot be read"):
        read_bin_set(tmp_path / "nowhere.bin")


@given(st.integers(0, 500), st.integers(0, 255), st.sampled_from(sorted(FORMS)), st.sampled_from([0, 2, 5]))
def test_a_damaged_byte_ends_in_one_line_or_is_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, form: str, protocol: int
) -> None:
    damaged = bytearray(pickle.dumps(FORMS[form], protocol=protocol))
    damaged[place % len(damaged)] = value
    path = written(tmp_path_factory.mktemp("bin"), bytes(damaged))
    try:
        read_bin_set(path)
    except UserError as mistake:
        assert str(path) in str(mistake)
