"""Files that are cut or damaged, claim what cannot be, or cannot be read at all."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codecbwe_jax import atomic
from codecbwe_jax.audio import files
from codecbwe_jax.errors import UserError

NOISE = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)


def encoded(kind: str, **settings: str) -> bytearray:
    buffer = io.BytesIO()
    soundfile.write(buffer, NOISE, 48000, format=kind, **settings)
    return bytearray(buffer.getvalue())


KINDS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "FLAC", "OGG", "MP3")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_is_named(kind: str, tmp_path: Path) -> None:
    data = encoded(kind)
    path = tmp_path / f"x.{kind.lower()}"
    path.write_bytes(data)
    assert len(files.read(path)[0]) == len(NOISE)
    lacks = {"OGG": r"\(its last page", "MP3": r"\(\d+ of \d+ frames"}
    says = f"broken {lacks.get(kind, 'at or after sample [0-9]+')}"
    for part in (0.3, 0.6, 0.9):
        path.write_bytes(data[: int(part * len(data))])
        with pytest.raises(UserError, match=says):
            files.read(path)
        with pytest.raises(UserError, match=says):
            list(files.Blocks(path, 7001))


@pytest.mark.parametrize("rate", [16000, 48000])
def test_a_page_of_opus_that_is_left_out_is_missed(rate: int, tmp_path: Path) -> None:
    """libsndfile goes on behind a page whose checksum is wrong."""
    path, whole = tmp_path / "x.opus", np.tile(NOISE, 3)
    soundfile.write(path, whole, rate, format="OGG", subtype="OPUS")
    data = bytearray(path.read_bytes())
    assert len(files.read(path)[0]) == len(whole)
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"broken at or after sample \d+"):
        files.read(path)


def test_an_mp3_that_lacks_a_frame_is_named(tmp_path: Path) -> None:
    data, path = encoded("MP3"), tmp_path / "x.mp3"
    second = data.index(data[:2], len(data) // 2)
    data[second : second + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"broken \(1 of \d+ frames are missing\)"):
        files.read(path)


def test_a_text_by_the_name_of_sound_is_none(tmp_path: Path) -> None:
    """libsndfile takes what has no header for mu-law, if its name ends so."""
    (tmp_path / "x.au").write_text("no audio\n" * 100)
    with pytest.raises(UserError, match="not an audio file that can be read"):
        files.read(tmp_path / "x.au")


def test_what_follows_the_data_is_no_sound(tmp_path: Path) -> None:
    for kind in ("W64", "AU", "CAF"):
        path = tmp_path / f"x.{kind.lower()}"
        path.write_bytes(encoded(kind) + b"something else" * 10)
        assert len(files.read(path)[0]) == len(NOISE)


def test_a_flipped_bit_of_a_flac_is_never_silence(tmp_path: Path) -> None:
    data, path = encoded("FLAC"), tmp_path / "x.flac"
    for place in range(90, len(data), len(data) // 20):
        damaged = data.copy()
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="broken at or after sample"):
            list(files.Blocks(path, 7001))


def test_a_flac_of_unknown_length_is_whole(tmp_path: Path) -> None:
    data, path = encoded("FLAC"), tmp_path / "x.flac"
    data[21] &= 0xF0
    data[22:26] = bytes(4)  # 36 bits of STREAMINFO: the number of samples
    path.write_bytes(data)
    assert files.info(path) == (48000, 48000, 1)
    whole, _ = files.read(path)
    # 16 bits: half a step of rounding
    np.testing.assert_allclose(whole[:, 0], NOISE, atol=0.51 / 32768)
    np.testing.assert_array_equal(files.read(path, 30000, 500)[0], whole[30000:30500])
    np.testing.assert_array_equal(np.concatenate(list(files.Blocks(path, 7001))), whole)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_streamed_is_whole(size: int, tmp_path: Path) -> None:
    data, path = encoded("WAV"), tmp_path / "x.wav"
    path.write_bytes(data)
    whole, _ = files.read(path)
    data[40:44] = struct.pack("<I", size)
    path.write_bytes(data)
    np.testing.assert_array_equal(files.read(path)[0], whole)
    np.testing.assert_array_equal(files.read(path, 30000, 500)[0], whole[30000:30500])


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", NOISE[:0], 48000)
    with pytest.raises(UserError, match="no samples in it"):
        files.read(tmp_path / "x.wav")


def test_a_claim_that_cannot_be_is_refused(tmp_path: Path) -> None:
    data, path = encoded("FLAC"), tmp_path / "x.flac"
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(UserError, match="its header claims 68719476735 samples"):
        files.info(path)
    soundfile.write(tmp_path / "wide.wav", np.zeros((10, 33)), 48000)
    with pytest.raises(UserError, match="claims 33 channels; at most 32"):
        files.info(tmp_path / "wide.wav")


def test_audio_that_is_not_read_says_what_would(tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(b"anything")
    assert files.find(tmp_path) == [tmp_path / "x.m4a"]
    with pytest.raises(UserError, match=r"\.m4a is not read.*ffmpeg -i x\.m4a x\.wav"):
        files.info(tmp_path / "x.m4a")


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "corpus").mkdir()
    files.write(tmp_path / "elsewhere" / "x.wav", NOISE, 48000)
    (tmp_path / "corpus" / "speaker").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "corpus")
    assert files.find(tmp_path / "corpus") == [tmp_path / "corpus" / "speaker" / "x.wav"]


@pytest.mark.parametrize("name", [b"\xff\xfe.wav", b"a\nb.wav", b"n" * 251 + b".wav"])
def test_any_name_is_written_and_read(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    files.write(path, NOISE, 48000)
    assert os.listdir(os.fsencode(tmp_path)) == [name]
    assert len(files.read(path)[0]) == len(NOISE)


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    bad = NOISE.copy()
    bad[123] = np.nan
    with pytest.raises(UserError, match=r"y\.wav: sample 123 is NaN"):
        files.write(tmp_path / "y.wav", bad, 48000)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="record 5: sample 123 is NaN"):
        files.encode(bad, 48000, "record 5")


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_count_is_whole_or_refused(mode: str, tmp_path: Path) -> None:
    """libsndfile guesses the length by the first frame's size, and reads no further."""
    path = tmp_path / "x.mp3"
    # silence first: the first frames are smaller than the average
    waveform = np.concatenate([np.zeros(24000, np.float32), NOISE])
    soundfile.write(path, waveform, 48000, format="MP3", bitrate_mode=mode, compression_level=0.5)
    data = path.read_bytes()
    first = data.index(data[:2], 4)
    path.write_bytes(data[first:])
    if mode == "CONSTANT":
        # the encoder's delay and padding stay in: at most five frames
        assert 0 <= len(files.read(path)[0]) - len(waveform) <= 5 * 1152
    else:
        with pytest.raises(UserError, match="broken at or after sample"):
            files.read(path)


def test_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    """/dev/full takes no byte: what is written to it fails as on a full disk."""
    with pytest.raises(UserError, match=r"x\.txt: cannot be written \(No space left on device\)"):
        write_full(tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def write_full(path: Path) -> None:
    with atomic.whole(path) as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("text")
