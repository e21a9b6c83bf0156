"""Folders of files: what is made of each, and what the last line says of the rest."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codecbwe_jax.audio import files
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.batch import each_file, extend_files


def tone(path: Path) -> Path:
    files.write(path, 0.1 * np.sin(np.arange(1600, dtype=np.float32)), 16000)
    return path


def test_a_folder_goes_on_behind_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tone(tmp_path / "in" / "whole.wav"), tone(tmp_path / "in" / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:1000])
    (tmp_path / "in" / "phone.m4a").write_bytes(b"anything")
    skipped = extend_files("sinc", [tmp_path / "in"], tmp_path / "out")
    assert [path.name for path, _ in skipped] == ["cut.wav", "phone.m4a"]
    assert "ffmpeg -i phone.m4a phone.wav" in skipped[1][1]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole.wav"]
    assert soundfile.info(tmp_path / "out" / "whole.wav").frames == 4800
    said = capsys.readouterr()
    assert said.out.startswith(f"{whole} -> ")
    last = said.err.splitlines()[-1]
    assert last == f"1 extended, 2 skipped: {cut}, {tmp_path}/in/phone.m4a"


def test_ten_skipped_files_are_named_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(source: Path, target: Path) -> None:
        if source.name != "good":
            raise UserError(f"{source}: no")

    names = ["good", *(f"bad{i:02d}" for i in range(13))]
    assert len(each_file([(Path(n), Path(n)) for n in names], work, "extended")) == 13
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("1 extended, 13 skipped: bad00, ")
    assert last.endswith("bad09 and 3 more")
    with pytest.raises(UserError, match="none of 2 files was extended"):
        each_file([(Path(n), Path(n)) for n in names[1:3]], work, "extended")


def test_a_batch_goes_on_where_it_was_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tone(tmp_path / "in" / "a.wav"), tone(tmp_path / "in" / "b.wav")
    extend_files("sinc", [first], tmp_path / "out")
    made = (tmp_path / "out" / "a.wav").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"a\.wav exists; give --overwrite .*, --skip-existing"):
        extend_files("sinc", [tmp_path / "in"], tmp_path / "out")
    capsys.readouterr()
    extend_files("sinc", [tmp_path / "in"], tmp_path / "out", existing="skip")
    said = capsys.readouterr().out.splitlines()
    assert said == ["1 of 2 are there already", f"{second} -> {tmp_path}/out/b.wav"]
    extend_files("sinc", [tmp_path / "in"], tmp_path / "out", existing="skip")
    assert capsys.readouterr().out == "2 of 2 are there already\n"
    assert (tmp_path / "out" / "a.wav").stat().st_mtime_ns == made


@pytest.mark.parametrize("name", [b"\xff\xfe.wav", b"a\nb.wav", b"n" * 250 + b".wav"])
def test_any_name_is_carried_to_the_output(
    name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tone(tmp_path / "in" / os.fsdecode(name))
    extend_files("sinc", [source], tmp_path / "out")
    assert os.listdir(os.fsencode(tmp_path / "out")) == [name]
    assert len(capsys.readouterr().out.splitlines()) == 1
