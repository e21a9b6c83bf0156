"""Which recordings a run trains on and validates on, and what it says of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from codecbwe_jax.audio import files
from codecbwe_jax.config import load_config
from codecbwe_jax.errors import UserError
from codecbwe_jax.training.data import find_recordings

SECOND = 0.1 * np.random.default_rng(0).standard_normal(48000).astype(np.float32)


def config(path: Path, *overrides: str) -> ConfigDict:
    said = "--config.data.bandwidth=manifest"
    return load_config("configs/ap_bwe.py:tiny", [f"--config.data.path={path}", said, *overrides])


def found(path: Path, workdir: Path, *overrides: str) -> tuple[set[str], set[str]]:
    """Names of the files on both sides."""
    sides = find_recordings(config(path, *overrides), 48000, workdir)
    return tuple({r.path.name for r in side} for side in sides)


def write(folder: Path, *names: str, seconds: float = 0.2) -> None:
    for name in names:
        files.write(folder / name, SECOND[: int(48000 * seconds)], 48000)


def test_a_manifests_sets_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest lies above the folder, and says nothing of one of its files."""
    folder = tmp_path / "clips"
    write(folder, "a.wav", "b.wav", "c.wav", "d.wav", "extra.wav")
    rows = [
        {"audio_filepath": f"clips/{name}.wav", "speaker": name, "set": kind}
        for name, kind in zip("abcd", ("train", "dev_unseen", "test", None), strict=True)
    ]
    rows.append({"audio_filepath": "elsewhere/e.wav", "speaker": "e", "set": "train"})
    text = "".join(json.dumps(row) + "\r\n" for row in rows)
    (tmp_path / "manifest.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert found(folder, tmp_path) == ({"a.wav", "d.wav"}, {"b.wav"})
    printed = capsys.readouterr().out
    assert "left out 1 (not in manifest.jsonl), 1 (set test)" in printed
    assert "training: 2 recordings, 0.0 minutes, 2 speakers; validation: 1 rec" in printed
    assert "1 speakers, held out: b" in printed
    assert "warning" not in printed
    # what is for validation elsewhere leaves nothing of it in training here
    write(tmp_path / "other", "x.wav", "y.wav")
    other = f"--config.data.valid_path={tmp_path / 'other'}"
    assert found(folder, tmp_path, other) == ({"a.wav", "d.wav"}, {"x.wav", "y.wav"})


def test_a_set_that_trains_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, "a.wav")
    row = {"audio_filepath": "a.wav", "speaker": "a", "set": "test"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row))
    with pytest.raises(UserError, match=r"no recording is left to train on .*: it lists 1 of set"):
        found(tmp_path, tmp_path)


def test_a_guess_that_looks_wrong_is_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, *(f"rec-{i}.wav" for i in range(10)))
    train, valid = found(tmp_path, tmp_path)
    assert (len(train), len(valid)) == (9, 1)  # one "speaker" is not held out whole
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning")]
    assert "'rec' has 100% of the minutes" in line
    assert "speaker_pattern" in line
    train, valid = found(tmp_path, tmp_path, r"--config.data.speaker_pattern=rec-(\d)")
    assert (len(train), len(valid)) == (9, 1)
    assert "warning" not in capsys.readouterr().out


def test_who_has_most_of_the_data_is_not_held_out(tmp_path: Path) -> None:
    for speaker in "abcdef":
        write(tmp_path, *(f"{speaker}/{i}.wav" for i in range(12 if speaker == "c" else 1)))
    for share in (0.1, 0.5, 0.9):
        _, valid = find_recordings(
            config(tmp_path, f"--config.data.valid_share={share}"), 48000, tmp_path
        )
        # c alone is 12 of 17 clips, more than any share leaves room for but the last
        assert ("c" in {r.speaker for r in valid}) <= (share > 12 / 17)
        assert valid


def test_real_speech_has_its_fifteen_speakers(
    speech48k: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, valid = find_recordings(config(speech48k / "train"), 48000, tmp_path)
    assert len({r.speaker for r in train} | {r.speaker for r in valid}) == 15
    assert sum(r.seconds for r in valid) < sum(r.seconds for r in train) / 2
    assert "kathleen" not in {r.speaker for r in valid}  # 8.4 of 15 minutes
    for path in (speech48k / "train").glob("*.flac"):
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / path.name).symlink_to(path)
    capsys.readouterr()
    train, valid = find_recordings(config(tmp_path / "flat"), 48000, tmp_path)
    speakers = {r.speaker for r in [*train, *valid]}
    assert {"p225", "p244", "kathleen"} <= speakers
    assert "'kathleen' has 56% of the minutes" in capsys.readouterr().out
