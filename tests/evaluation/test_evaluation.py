import json
from pathlib import Path

import numpy as np
import pytest

from codecbwe_jax.audio import files
from codecbwe_jax.data import recordings
from codecbwe_jax.evaluation import metrics
from codecbwe_jax.evaluation.evaluate import evaluate
from codecbwe_jax.evaluation.report import text_table, write_report
from codecbwe_jax.inference.model import load_model


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
