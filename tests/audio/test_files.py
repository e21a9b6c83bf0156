from pathlib import Path

import numpy as np
import pytest
import soundfile

from codecbwe_jax.audio import files
from codecbwe_jax.data import recordings
from codecbwe_jax.data.pipeline import read_segment
from codecbwe_jax.errors import UserError

TONE = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_every_format_is_read_from_any_place(suffix: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / f"tone.{suffix}", TONE, 48000)
    whole, rate = files.read(tmp_path / f"tone.{suffix}")
    assert rate == 48000
    (recording,) = recordings.find(tmp_path).recordings
    segment = read_segment(recording, 48000, 9600, 0.5)
    start = int(0.5 * (recording.samples - 9600 + 1))
    np.testing.assert_allclose(segment, whole[start : start + 9600, 0], atol=1e-6)
    peak = np.argmax(np.abs(np.fft.rfft(segment))) * 48000 / 9600
    assert peak == 1000


def test_blocks_join_to_the_file(tmp_path: Path) -> None:
    files.write(tmp_path / "x.wav", np.stack([TONE, -TONE], 1), 48000, "FLOAT")
    joined = np.concatenate(list(files.Blocks(tmp_path / "x.wav", 7001)))
    np.testing.assert_array_equal(joined, np.stack([TONE, -TONE], 1))


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    def interrupted() -> None:
        with files.Writer(tmp_path / "y.wav", 48000, 1) as writer:
            writer.write(TONE[:, None])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_clipping_is_counted_and_float_keeps_it(tmp_path: Path) -> None:
    with files.Writer(tmp_path / "a.wav", 48000, 1) as writer:
        writer.write(3 * TONE[:, None])
    assert writer.clipped == np.sum(np.abs(3 * TONE) > 1)
    files.write(tmp_path / "b.wav", 3 * TONE, 48000, "FLOAT")
    assert np.abs(files.read(tmp_path / "b.wav")[0]).max() == pytest.approx(1.5)


def test_an_unknown_output_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"y\.mp3: output can be \.wav, \.flac or \.ogg"):
        files.Writer(tmp_path / "y.mp3", 48000, 1)
