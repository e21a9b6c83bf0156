import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from codecbwe_jax.audio import files
from codecbwe_jax.data import recordings
from codecbwe_jax.errors import UserError
from codecbwe_jax.evaluation import metrics
from codecbwe_jax.evaluation.evaluate import evaluate, heard_rate
from codecbwe_jax.evaluation.evaluators import Extension
from codecbwe_jax.evaluation.report import text_table, write_report
from codecbwe_jax.evaluation.speed import one_thread_factors
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from codecbwe_jax.inference.model import Model
from codecbwe_jax.inference.model_folders import load_model
from codecbwe_jax.systems import build
from tests.conftest import MICRO_CODEC, random_codec


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory, corpus: Path):
    folder = tmp_path_factory.mktemp("evaluation")
    found = recordings.find(corpus).recordings[:2]
    models = [load_model("sinc"), load_model("band_replication")]
    return evaluate(models, found, folder, say=lambda text: None)


def test_every_figure_comes_from_the_written_files(evaluation) -> None:
    scores = json.loads((evaluation.folder / "scores.json").read_text())
    for name in ("sinc", "band_replication"):
        values = []
        for i in range(2):
            output, rate = files.read(evaluation.folder / "clips" / f"{i:02d}_{name}.flac")
            target, _ = files.read(evaluation.folder / "clips" / f"{i:02d}_target.flac")
            values.append(metrics.lsd_high(output[:, 0], target[:, 0], rate, 8000))
        assert scores["models"][name]["lsd_high"] == pytest.approx(np.mean(values))
    assert scores["clips"] == ["clip_00.flac", "clip_01.flac"]


def test_each_number_names_its_formula(evaluation) -> None:
    scores = json.loads((evaluation.folder / "scores.json").read_text())
    figures = set(scores["models"]["sinc"]) - {"real_time_factor", "per_clip"}
    assert figures == set(scores["formulas"])


def test_copying_a_band_beats_leaving_it_empty(evaluation) -> None:
    empty, copied = (row.means for row in evaluation.rows)
    assert copied["lsd_high"] < empty["lsd_high"] - 0.5
    assert copied["lsd_low"] < empty["lsd_low"] + 0.2
    assert "band_replication" in text_table(evaluation)


def test_the_report_plays_what_is_there(evaluation) -> None:
    write_report(evaluation, evaluation.folder / "report.html", "A <title>", ["a & b"])
    page = (evaluation.folder / "report.html").read_text()
    assert "A &lt;title&gt;" in page
    assert page.count("data:image/png;base64,") == 2
    for source in page.split("src='clips/")[1:]:
        assert (evaluation.folder / "clips" / source.split("'")[0]).is_file()


def test_sharpness_tells_smooth_from_sharp() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal(48000)
    assert metrics.sharpness(rng.standard_normal(48000), target, 48000, 8000) == pytest.approx(
        1.0, abs=0.05
    )
    clicks = np.zeros(48000)
    clicks[::4096] = 100.0  # one in a window at most: flat spectra, as smooth as can be
    assert metrics.sharpness(clicks, target, 48000, 8000) < 0.6


def test_levels_are_in_decibels_of_full_scale() -> None:
    t = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 30 * t) + 0.1 * np.sin(2 * np.pi * 9000 * t)
    assert metrics.band_level_db(tone, 48000, 0, 100) == pytest.approx(-3.0, abs=0.3)
    assert metrics.band_level_db(tone, 48000, 8500, 9500) == pytest.approx(-23.0, abs=0.3)


def test_the_step_at_the_crossover_is_seen() -> None:
    rng = np.random.default_rng(0)
    target = rng.standard_normal(48000)
    spectrum = np.fft.rfft(target)
    spectrum[8000:] *= 0.1
    quiet = np.fft.irfft(spectrum)
    assert metrics.crossover_step_db(quiet, target, 48000, 8000) == pytest.approx(
        -20, abs=4
    )  # leakage of the window over the cut


def test_undefined_figures_are_null_not_numbers(tmp_path: Path) -> None:
    files.write(tmp_path / "in" / "s_0.wav", np.zeros(24000, np.float32), 48000)
    found = recordings.find(tmp_path / "in").recordings
    evaluate([load_model("sinc")], found, tmp_path / "out", say=lambda text: None)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["models"]["sinc"]["snr"] is None
    assert scores["models"]["sinc"]["lsd"] == 0.0


def test_every_model_hears_each_filter_and_the_table_says_the_spread(
    corpus: Path, tmp_path: Path
) -> None:
    found = recordings.find(corpus).recordings[:1]
    models = [load_model("sinc"), load_model("band_replication")]
    names = ("soxr_hq", "random_sinc", "polyphase")
    e = evaluate(models, found, tmp_path, say=lambda text: None, lowpasses=names)
    inputs = [e.waveform(0, "input", name) for name in names]
    assert len({wave.tobytes() for wave in inputs}) == 3
    scores = json.loads((tmp_path / "scores.json").read_text())["models"]
    for row in e.rows:
        target = e.waveform(0, "target")
        values = [
            metrics.lsd_high(e.waveform(0, row.name, name), target, e.rate, e.edge_hz)
            for name in names
        ]
        stored = [scores[row.name]["by_lowpass"][name]["lsd_high"] for name in names]
        assert stored == pytest.approx(values)
        assert row.means["lsd_high"] == pytest.approx(np.mean(values))
        assert row.spread == pytest.approx(max(values) - min(values))
    assert "spread" in text_table(e)
    write_report(e, tmp_path / "report.html", "By filter", [])
    page = (tmp_path / "report.html").read_text()
    assert "LSD above the edge by filter" in page
    assert "00_sinc_soxr_hq.flac" in page
    assert "00_sinc_polyphase.flac" not in page


def test_one_filter_alone_gives_what_no_filter_gives_where_it_is_the_same(
    evaluation, corpus: Path, tmp_path: Path
) -> None:
    found = recordings.find(corpus).recordings[:2]
    e = evaluate(
        [load_model("sinc")], found, tmp_path, say=lambda text: None, lowpasses=("soxr_hq",)
    )
    assert e.rows[0].means == evaluation.rows[0].means


def test_filters_that_cannot_be_are_refused(corpus: Path, tmp_path: Path) -> None:
    found = recordings.find(corpus).recordings[:1]
    with pytest.raises(UserError, match=r"no low-pass brick; there are torchaudio, .*, all"):
        evaluate([load_model("sinc")], found, tmp_path / "out", lowpasses=("brick",))
    assert not (tmp_path / "out").exists()


def test_a_recording_that_cannot_be_read_is_named_and_left_out(
    corpus: Path, tmp_path: Path
) -> None:
    found = _with_a_broken_one(corpus, tmp_path / "in")
    said: list[str] = []
    e = evaluate([load_model("sinc")], found, tmp_path / "out", say=said.append)
    assert e.clips == [found[0].name, found[2].name]
    assert [name for name, _ in e.left_out] == [found[1].name]
    assert any(found[1].name in line for line in said)
    with pytest.raises(UserError, match="none of 1 recordings can be read"):
        evaluate([load_model("sinc")], found[1:2], tmp_path / "none", say=said.append)


def test_another_recording_takes_the_place_of_one_that_cannot_be_read(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _with_a_broken_one(corpus, tmp_path / "in")
    settings = {"every": 1, "clips": 2, "seconds": 0.5, "media": 0}
    judge = Extension(load_model("sinc").system, [found[1], *found[:1], found[2]], **settings)
    assert len(judge.targets) == 2
    assert found[1].name in capsys.readouterr().out


def test_native_decoders_and_baselines_stand_together_on_a_codec_of_24_khz(
    corpus: Path, tmp_path: Path
) -> None:
    settings, params = random_codec("neucodec")
    codec = FrozenCodec(Model("codec", settings, params, {}))
    sizes = {"features": 96, "backbone": MICRO_CODEC["backbone"]}
    native = build({"name": "native_istft", "output_rate": 24000, **sizes})
    # the codec's own quantiser: it reads the codec's tokens
    started = native.init(jax.random.key(0)) | {"quantizer": params["quantizer"]}
    models = [
        Model("native", native, started, {}),
        load_model("sinc"),
    ]
    found = recordings.find(corpus).recordings[:1]
    e = evaluate(models, found, tmp_path, say=lambda text: None, codec=codec)
    assert (e.rate, e.edge_hz) == (48000, 12000)
    _, rate = files.read(e.path(0, "input"))
    assert rate == 24000


def test_a_baseline_at_24_khz_keeps_what_is_below_its_roll_off(tmp_path: Path) -> None:
    """A tone at 5 kHz comes out as it was; one at 11.5 kHz, in the transitions of the filter that
    makes the input and of the baseline's own, is mostly lost, as is noise near the edge."""
    sinc = Model("sinc", build({"name": "sinc", "input_rate": 24000}), {}, {})
    for hertz in (5000, 11500):
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(48000) / 48000)
        files.write(tmp_path / f"in_{hertz}" / "tone_0.wav", tone.astype(np.float32), 48000)
    lost = []
    for hertz in (5000, 11500):
        found = recordings.find(tmp_path / f"in_{hertz}").recordings
        e = evaluate([sinc], found, tmp_path / f"out_{hertz}", say=lambda text: None)
        assert (e.rate, e.edge_hz) == (48000, 12000)
        # away from the ends, where the tone breaks off
        target, output = (e.waveform(0, name)[4800:-4800] for name in ("target", "sinc"))
        lost.append(20 * np.log10(np.std(output - target) / np.std(target)))
    # measured: -93 and -3 dB
    assert lost[0] < -80
    assert lost[1] > -10


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("opus_bbwe", "alone: give a codec that decodes to 16000 Hz, or none"),
        ("bbwexnet", "alone: give a codec that decodes to 16000 Hz, or none"),
        ("high_band", r": train it .* config\.system\.input_rate=24000"),
    ],
)
def test_a_model_at_another_rate_than_the_codec_gives_is_refused(name: str, advice: str) -> None:
    settings, _ = random_codec("neucodec")
    with pytest.raises(UserError, match=f"to 24000 Hz, {name} takes 16000 Hz ?{advice}"):
        heard_rate([load_model("sinc").system, build({"name": name})], settings)


def _with_a_broken_one(corpus: Path, folder: Path) -> list[recordings.Recording]:
    """Three recordings, of which the second is cut off after it was found."""
    folder.mkdir()
    for i, recording in enumerate(recordings.find(corpus).recordings[:3]):
        shutil.copy(recording.path, folder / f"s_{i}.flac")
    found = recordings.find(folder).recordings
    found[1].path.write_bytes(b"fLaC")
    return found


def test_a_model_that_cannot_be_timed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: cannot be timed: .*no such folder"):
        one_thread_factors([Path("band_replication"), tmp_path / "none", Path("sinc")])
