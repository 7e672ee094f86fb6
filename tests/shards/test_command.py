"""How commands end."""

import errno

import pytest

from shards.command import UserError, run


def raising(error: BaseException) -> None:
    raise error


def test_a_users_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: raising(UserError("found this;\n expected that")))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: found this; expected that\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_be_written_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: raising(OSError(number, "no room", "runs/a.pt")))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: runs/a.pt: no room; make room")


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: raising(ZeroDivisionError()))
    with pytest.raises(ConnectionResetError):
        run(lambda: raising(ConnectionResetError(errno.ECONNRESET, "reset")))


def test_ctrl_c_ends_with_130() -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: raising(KeyboardInterrupt()))
    assert ended.value.code == 130
