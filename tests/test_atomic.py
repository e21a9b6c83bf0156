import errno
from pathlib import Path

import pytest

from codecbwe_jax import atomic
from codecbwe_jax.errors import UserError


def test_a_full_disk_is_told_of_the_file_that_is_written(tmp_path: Path) -> None:
    def fill() -> None:
        with atomic.whole(tmp_path / "x.bin") as partial:
            partial.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"x\.bin: cannot be written \(No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_what_ails_another_file_is_not_told_of_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), atomic.whole(tmp_path / "x.bin"):
        (tmp_path / "source").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_name_is_no_longer_than_the_final_one_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 125 + ".wav")  # 254 bytes, of 255
    with atomic.whole(path) as partial:
        partial.write_bytes(b"1")
    assert path.read_bytes() == b"1"
    assert atomic.temporary(path).suffix == ".wav"
