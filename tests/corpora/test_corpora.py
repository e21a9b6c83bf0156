"""Corpora: from manifests and folders, by Beam, to TFDS datasets that training reads."""

from __future__ import annotations

import collections
import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
import tensorflow_datasets as tfds
from apache_beam.io.filesystem import FileMetadata, MatchResult
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.options.pipeline_options import PipelineOptions

from codecbwe_jax import corpora
from codecbwe_jax.audio import files
from codecbwe_jax.corpora import storage
from codecbwe_jax.corpora.chapters import Chapter, Settings, Utterance, choose, into_shards
from codecbwe_jax.data import recordings, shards, split, synthetic
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from tests.conftest import run_cli
from tests.corpora.sample import RATE, hifi_tts2, write_lines

pytestmark = pytest.mark.xdist_group("corpora")

HERE = PipelineOptions(["--runner=DirectRunner", "--direct_running_mode=in_memory"])


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return hifi_tts2(tmp_path / "source")


def titles(folder: Path) -> list[str]:
    return sorted(r.title for r in recordings.find(folder).recordings)


def test_hifi_tts2_is_cut_resampled_and_chosen_by_its_manifest(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = rows_of(source / "manifest_44khz.json")
    said[1]["wer"] = 0.2
    said[2]["set"] = "dev_seen"
    write_lines(source / "manifest_44khz.json", said)
    builder = corpora.build("hifi_tts2/32k", str(tmp_path / "out"))
    result = builder.write(str(source), options=HERE)
    told = "left out 3 (bandwidth below 16000 Hz), 1 (word error rate over 0.1)"
    assert told in capfd.readouterr().out
    assert {split: part.lengths for split, part in result.items()} == {
        "dev_seen": [1],
        "train": [1],
    }

    found = recordings.find(builder.data_path).recordings
    assert {(r.subset, r.title) for r in found} == {
        ("train", "90001/book/book_00_0.flac"),
        ("dev_seen", "90001/book/book_00_2.flac"),
    }
    whole, _ = files.read(source / "chapters" / "book_00.mp3")
    for r, offset in zip(sorted(found, key=lambda r: r.title), (0.25, 2.25), strict=True):
        assert (r.speaker, r.rate, r.samples, r.bandwidth_hz) == ("90001", 32000, 32000, 19810)
        start = int(offset * RATE)
        expected = soxr.resample(whole[start : start + RATE, 0], RATE, 32000)
        # half of a 16-bit step
        np.testing.assert_allclose(r.read()[0][:, 0], expected, atol=2**-16 + 1e-7)
        np.testing.assert_array_equal(r.read(1000, 50)[0], r.read()[0][1000:1050])
    train, held = split.divide(found, 0.5)
    assert [r.subset for r in train + held] == ["train", "dev_seen"]


def test_it_is_a_dataset_of_tfds(source: Path, tmp_path: Path) -> None:
    """Prepared by TFDS's own call and read where neither TensorFlow nor Beam is imported."""
    corpora.builder_class("hifi_tts2")
    builder = tfds.builder("hifi_tts2/44k", data_dir=tmp_path)

    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=source, beam_options=HERE)
    )
    code = (
        "import io, json, sys, soundfile, tensorflow_datasets as tfds\n"
        f"s = tfds.data_source('hifi_tts2/44k', data_dir={str(tmp_path)!r}, split='train')\n"
        "x, rate = soundfile.read(io.BytesIO(s[0]['flac']))\n"
        "print(json.dumps([len(s), len(x), rate, s[0]['text'].decode(), s[0]['bandwidth']]))\n"
        "print([m for m in ('tensorflow', 'apache_beam') if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    shown, modules = result.stdout.strip().splitlines()
    assert json.loads(shown) == [3, RATE, RATE, "a text", 19810]
    assert modules == "[]"


def test_the_corpus_is_what_training_reads(source: Path, tmp_path: Path) -> None:
    settings = ["--setting=min_bandwidth_hz=0", "--name=all"]
    arguments = ("hifi_tts2/48k", f"--source={source}", f"--output={tmp_path / 'out'}", *settings)
    made = run_cli("corpus", *arguments, "--workers=1")
    assert made.returncode == 0, made.stderr
    folder = made.stdout.strip().splitlines()[-1].removeprefix("--config.data.path=")
    run = run_cli(
        "train",
        "--config=tests/training/micro_config.py:48k",
        f"--workdir={tmp_path / 'run'}",
        f"--config.data.path={folder}",
        "--config.data.bandwidth=manifest",
        "--config.data.min_bandwidth_hz=8000",
        "--config.data.workers=1",
        "--config.train.steps=2",
    )
    assert run.returncode == 0, run.stderr
    assert "6 recordings, 0.1 minutes, 2 speakers" in run.stdout
    looked = run_cli("doctor", folder)
    assert looked.stdout.count("book_0") == 6
    assert "Traceback" not in looked.stderr


def test_a_killed_job_loses_and_repeats_nothing(tmp_path: Path) -> None:
    source = hifi_tts2(tmp_path / "source", chapters=12, utterances=8)
    everything = ["--setting=min_bandwidth_hz=0", "--name=all", "--hours-per-shard=0.001"]
    command = ["corpus", "hifi_tts2/48k", f"--source={source}", *everything, "--workers=2"]
    folder = tmp_path / "killed" / "hifi_tts2" / "all" / "1.0.0"
    first = subprocess.Popen(
        [sys.executable, "-m", "codecbwe_jax", *command, f"--output={tmp_path / 'killed'}"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(3000):
        whole = {p: p.stat().st_mtime_ns for p in folder.glob("hifi_tts2-*")}
        if len(whole) >= 3:
            break
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    whole = {p: p.stat().st_mtime_ns for p in folder.glob("hifi_tts2-*")}
    assert 3 <= len(whole) < 12
    with pytest.raises(UserError, match="not complete; the same codecbwe corpus command goes on"):
        recordings.find(folder)

    second = run_cli(*command, f"--output={tmp_path / 'killed'}")
    assert second.returncode == 0, second.stderr
    assert f"12 shards, {12 - len(whole)} left" in second.stdout
    assert {p: p.stat().st_mtime_ns for p in whole} == whole
    assert not list(folder.glob(".*"))

    builder = corpora.build(
        "hifi_tts2/48k", str(tmp_path / "straight"), "all", ["min_bandwidth_hz=0"]
    )
    builder.write(str(source), options=HERE, hours_per_shard=0.001)
    assert len(set(titles(folder))) == len(titles(folder)) == 96
    again = shards.open_split(folder, "train")
    for mine, other in zip(builder.as_data_source("train"), again, strict=True):
        assert mine == other


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server: its address and its folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def test_dead_links_and_broken_chapters_are_counted_and_the_rest_goes_on(
    tmp_path: Path, web: tuple[str, Path]
) -> None:
    source = hifi_tts2(tmp_path / "source", chapters=7, utterances=2)
    address, served = web
    mp3 = [source / "chapters" / f"book_{c:02d}.mp3" for c in range(7)]
    chapters = rows_of(source / "chapters_44khz.json")
    mp3[0].rename(served / "here.mp3")
    chapters[0]["url"] = f"{address}/here.mp3"
    chapters[1]["url"] = f"{address}/withdrawn.mp3"
    mp3[2].unlink()
    mp3[3].write_bytes(b"no audio at all")
    chapters[4]["duration"] += 0.2
    for u, part in enumerate(chapters[5]["utterances"]):  # cut before, at another rate
        x = synthetic.utterance(synthetic.make_voice(5), 1.0, u)
        files.write(source / part["audio_filepath"], x, 48000)
    chapters[6]["utterances"][1]["offset"] = 2.3
    write_lines(source / "chapters_44khz.json", chapters)

    builder = corpora.build("hifi_tts2/48k", str(tmp_path), "all", ["min_bandwidth_hz=0"])
    builder.write(str(source), options=HERE)
    found = recordings.find(builder.data_path)
    assert {r.title for r in found.recordings} == {
        "90001/book/book_00_0.flac",
        "90001/book/book_00_1.flac",
        "90006/book/book_05_0.flac",
        "90006/book/book_05_1.flac",
        "90007/book/book_06_0.flac",
    }
    cut = next(r for r in found.recordings if r.title == "90006/book/book_05_1.flac")
    mine, _ = files.read(source / cut.title)
    np.testing.assert_array_equal(cut.read()[0], mine)
    reasons = {path.name: why for path, why in found.left_out}
    assert reasons["book_01_0.flac"] == f"{address}/withdrawn.mp3: 404 File not found"
    assert (
        "no such file: 90003/book/book_02.flac or chapters/book_02.mp3" in reasons["book_02_1.flac"]
    )
    assert "not an audio file" in reasons["book_03_0.flac"]
    assert "s long, not" in reasons["book_04_1.flac"]
    assert "ends before the utterance at 2.30 s does" in reasons["book_06_1.flac"]


def test_a_busy_server_is_asked_again(
    web: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = web
    (served / "a.mp3").write_bytes(b"whole")
    answers = iter([503, 503, None])

    def busy(handler: _Quiet) -> None:
        code = next(answers)
        if code:
            handler.send_error(code)
        else:
            http.server.SimpleHTTPRequestHandler.do_GET(handler)

    monkeypatch.setattr(_Quiet, "do_GET", busy, raising=False)
    with storage.local(f"{address}/a.mp3", pause=0.0) as path:
        assert path.read_bytes() == b"whole"
    assert not path.exists()
    answers = iter([500] * 9)
    with (
        pytest.raises(UserError, match=r"cannot be fetched \(500 .*\), tried 5 times"),
        storage.local(f"{address}/a.mp3", pause=0.0),
    ):
        pass


def test_vctk_like_folders(tmp_path: Path) -> None:
    for speaker in ("p225", "p226"):
        for clip in ("001", "002"):
            for microphone in ("mic1", "mic2"):
                name = f"wav48_silence_trimmed/{speaker}/{speaker}_{clip}_{microphone}.flac"
                x = synthetic.utterance(synthetic.make_voice(0), 0.5, int(clip))
                files.write(tmp_path / "vctk" / name, x, 48000)
            text = tmp_path / "vctk" / "txt" / speaker / f"{speaker}_{clip}.txt"
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("Please call Stella.\n")
    builder = corpora.build("vctk_like/24k", str(tmp_path / "out"))
    builder.write(str(tmp_path / "vctk"), options=HERE)
    found = recordings.find(builder.data_path).recordings
    assert sorted((r.speaker, r.title) for r in found) == [
        (speaker, f"{speaker}/{speaker}_{clip}_mic1.flac")
        for speaker in ("p225", "p226")
        for clip in ("001", "002")
    ]
    assert {(r.rate, r.samples) for r in found} == {(24000, 12000)}
    record = builder.as_data_source("train")[0]
    assert record["text"] == b"Please call Stella."


def test_any_recordings_and_what_only_the_audio_tells(tmp_path: Path) -> None:
    x = synthetic.utterance(synthetic.make_voice(1), 2.0, 0)
    folder = tmp_path / "mine"
    narrow = soxr.resample(soxr.resample(x, 48000, 16000), 16000, 48000)
    loud, gated = 3.0 * x / np.abs(x).max(), x.copy()
    gated[: len(x) // 2] = 0
    waves = {"good": x, "narrow": narrow, "loud": loud, "soft": x * 1e-3, "gated": gated}
    for name, wave in waves.items():
        files.write(folder / f"{name}.wav", wave, 48000)
    rows = [{"audio_filepath": f"{name}.wav", "speaker": "s", "text": "t"} for name in waves]
    part = {"audio_filepath": "good.wav", "speaker": "s", "duration": 0.5, "offset": 0.7}
    write_lines(folder / "manifest.jsonl", [*rows, part])
    builder = corpora.build("recordings/48k", str(tmp_path / "out"))
    builder.write(str(folder), options=HERE)
    found = recordings.find(builder.data_path)
    by_title = {r.title: r for r in found.recordings}
    assert set(by_title) == {"good.wav", "good.wav@0.7"}
    assert by_title["good.wav"].bandwidth_hz > 12000
    np.testing.assert_array_equal(
        by_title["good.wav@0.7"].read()[0],
        files.read(folder / "good.wav", 33600, 24000)[0],
    )
    assert {path.name: why for path, why in found.left_out} == {
        "narrow.wav": "bandwidth below 12000 Hz",
        "loud.wav": "clipped",
        "soft.wav": "peak below 0.01",
        "gated.wav": "more than 30% digital silence",
    }


def test_tokens_of_a_codec_beside_the_audio(
    source: Path, tmp_path: Path, codec_folder: Path
) -> None:
    builder = corpora.build(
        "hifi_tts2/24k", str(tmp_path), "with_tokens", ["max_wer=1"], str(codec_folder)
    )
    builder.write(str(source), options=HERE)
    codec = FrozenCodec.load(codec_folder)
    for record in builder.as_data_source("train"):
        x, rate = files.decode(record["flac"], "record")
        np.testing.assert_array_equal(record["tokens"], codec.tokens(x[:, 0], rate))


def utterance(title: str, **facts: object) -> Utterance:
    return Utterance(title, **{"speaker": "s", "split": "train", "seconds": 10.0, **facts})


def test_hours_of_a_speaker_have_an_end() -> None:
    """The utterances of the lowest hash, whatever the order they come in."""
    chapters = [
        Chapter(
            (f"{c}",), None, tuple(utterance(f"{c}_{u}", speaker=f"{c % 2}") for u in range(20))
        )
        for c in range(4)
    ]
    settings = Settings(max_hours_per_speaker=100 / 3600)
    chosen, reasons = choose(chapters, settings)
    names = {u.title for c in chosen for u in c.utterances}
    assert reasons == {"speaker has more than 0.0277778 hours": 60}
    assert collections.Counter(int(n.split("_")[0]) % 2 for n in names) == {0: 10, 1: 10}
    again, _ = choose(chapters[::-1], settings)
    assert {u.title for c in again for u in c.utterances} == names


def test_shards_hold_every_utterance_once_and_whole_chapters() -> None:
    chapters = [
        Chapter(
            (f"{c}",),
            None,
            tuple(utterance(f"{c}_{u}", split="train" if u else "dev_seen") for u in range(5)),
        )
        for c in range(30)
    ]
    splits = into_shards(chapters, 100.0)
    assert {split: len(parts) for split, parts in splits.items()} == {"dev_seen": 3, "train": 10}
    every = [
        u.title for parts in splits.values() for part in parts for c in part for u in c.utterances
    ]
    assert len(every) == len(set(every)) == 150
    assert into_shards(chapters[::-1], 100.0) == splits


def test_mistakes_are_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown corpus 'vctk'; known: hifi_tts2, vctk_like, rec"):
        corpora.build("vctk", str(tmp_path))
    with pytest.raises(UserError, match="has no config '96k'; known: 24k, 32k, 44k, 48k"):
        corpora.build("hifi_tts2/96k", str(tmp_path))
    with pytest.raises(UserError, match="give it a --name"):
        corpora.build("hifi_tts2/32k", str(tmp_path), changes=["max_wer=0.5"])
    with pytest.raises(UserError, match=r"no such setting; known: rate, min_bandwidth_hz"):
        corpora.build("hifi_tts2/32k", str(tmp_path), "x", ["wer=0.5"])
    with pytest.raises(UserError, match="max_wer is a number, 'low' is none"):
        corpora.build("hifi_tts2/32k", str(tmp_path), "x", ["max_wer=low"])
    with pytest.raises(UserError, match=r"manifest_44khz.json: no such file"):
        corpora.build("hifi_tts2/32k", str(tmp_path)).write(str(tmp_path / "nowhere"), options=HERE)

    builder = corpora.build("hifi_tts2/32k", str(tmp_path))
    builder.write(str(source), options=HERE)
    with pytest.raises(UserError, match="begun from another corpus or with other settings"):
        builder.write(str(hifi_tts2(tmp_path / "other", utterances=2)), options=HERE)
    chapters = rows_of(source / "chapters_44khz.json")
    del chapters[0]["utterances"][1]["offset"]
    write_lines(source / "chapters_44khz.json", chapters)
    with pytest.raises(
        UserError, match=r"chapters_44khz.json:1: expected a JSON object with offset"
    ):
        builder.write(str(source), options=HERE)
    (source / "manifest_44khz.json").write_text('{"speaker": 7}\n')
    with pytest.raises(
        UserError, match=r"manifest_44khz.json:1: expected a JSON object with audio"
    ):
        builder.write(str(source), options=HERE)


class Bucket(LocalFileSystem):
    """Addresses "bucket:///folder/file" are files that Beam alone reaches."""

    @classmethod
    def scheme(cls) -> str:
        return "bucket"

    def create(self, path: str, *rest: object) -> object:
        here(path).parent.mkdir(parents=True, exist_ok=True)
        return super().create(str(here(path)), *rest)

    def open(self, path: str, *rest: object) -> object:
        return super().open(str(here(path)), *rest)

    def exists(self, path: str) -> bool:
        return Path(path.removeprefix("bucket://")).exists()  # match asks of files already found

    def rename(self, old: list[str], new: list[str]) -> None:
        super().rename([str(here(p)) for p in old], [str(here(p)) for p in new])

    def match(self, patterns: list[str], limits: object = None) -> list[MatchResult]:
        (result,) = super().match([str(here(p)) for p in patterns], limits)
        files = [FileMetadata(f"bucket://{m.path}", m.size_in_bytes) for m in result.metadata_list]
        return [MatchResult(patterns[0], files)]


def here(path: str) -> Path:
    assert path.startswith("bucket://")
    return Path(path.removeprefix("bucket://"))


def test_a_bucket_takes_the_place_of_both_folders(source: Path, tmp_path: Path) -> None:
    builder = corpora.build("hifi_tts2/32k")
    builder.write(f"bucket://{source}", f"bucket://{tmp_path}/remote", HERE, 0.001)
    plain = corpora.build("hifi_tts2/32k", str(tmp_path / "plain"))
    plain.write(str(source), options=HERE, hours_per_shard=0.001)
    folder = tmp_path / "remote" / "hifi_tts2" / "32k" / "1.0.0"
    names = {p.relative_to(folder) for p in folder.rglob("*")}
    assert names == {p.relative_to(plain.data_path) for p in Path(plain.data_path).rglob("*")}
    assert recordings.find(folder).recordings[0].read()[0].shape == (32000, 1)
    assert titles(folder) == titles(plain.data_path)
    with pytest.raises(UserError, match=r"pip install 'apache-beam\[gcp\]'"):
        corpora.build("hifi_tts2/32k", str(tmp_path)).write("gs://bucket/hifi_tts2")


def test_a_worker_that_cannot_write_says_so_last(source: Path, tmp_path: Path) -> None:
    """In one line; Beam's own report, with its tracebacks, stands before it."""
    builder = corpora.build("hifi_tts2/32k", str(tmp_path / "out"))
    folder = Path(builder.data_path)
    folder.mkdir(parents=True)
    (folder / "index").write_text("in the way")
    result = run_cli(
        "corpus", "hifi_tts2/32k", f"--source={source}", f"--output={tmp_path / 'out'}"
    )
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"codecbwe: {folder}/index/train-00000-of-00001.jsonl: cannot be wri")
    assert last.endswith("(File exists)")
