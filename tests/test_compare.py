"""`codecbwe compare`: trained alike, one table, one page to listen to; done again, it goes on."""

import json
import re
from pathlib import Path

import pytest
import soundfile

from codecbwe_jax.compare import compare
from codecbwe_jax.errors import UserError
from codecbwe_jax.inference.frozen_codec import FrozenCodec
from tests.conftest import NATIVE_LOSSES, NATIVE_SIZES, SHORT, run_cli, sizes

LOSSES = " ".join(NATIVE_LOSSES)
NATIVE_MICRO = " ".join([*NATIVE_SIZES, LOSSES])
WITHOUT_ATTENTION = {"size": 64, "intermediate": 80, "layers": 1}
CONVNEXT = " ".join([*sizes("backbone.", WITHOUT_ATTENTION), *sizes("", {"features": 96})])
NATIVE = f"configs/native_istft.py:tiny_48k {NATIVE_MICRO}"


def test_systems_of_both_kinds_at_two_rates(
    corpus: Path, codec_24k_folder: Path, tmp_path: Path
) -> None:
    """Native decoders of 48 and 24 kHz and a post-hoc system, on a codec that decodes to 24 kHz."""
    report = tmp_path / "report"
    command = (
        "compare",
        "--configs",
        f"high=configs/native_istft.py:tiny_48k_convnext {CONVNEXT} {LOSSES}",
        f"configs/native_multiband.py:tiny_2x12 {NATIVE_MICRO}",
        "post_hoc=tests/training/micro_config.py:neucodec",
        f"--codec={codec_24k_folder}",
        "--steps=3",
        f"--data={corpus}",
        f"--report={report}",
        "--blind",
        "--config.data.chunk_seconds=0.5",
        "--config.data.segment_samples=4800",
        *SHORT,
    )
    result = run_cli(*command)
    assert result.returncode == 0, result.stderr
    scores = json.loads((report / "scores.json").read_text())
    names = ["high", "native_multiband_tiny_2x12", "post_hoc"]
    wanted = {*names, *(f"{n}, step 0" for n in names), "sinc", "band_replication"}
    assert set(scores["models"]) == wanted
    assert (scores["output_rate"], scores["edge_hz"]) == (48000, 12000)
    for name in ("high", "post_hoc"):
        trained, fresh = (scores["models"][n]["lsd"] for n in (name, f"{name}, step 0"))
        assert trained != fresh
    table = (report / "table.md").read_text()
    assert re.search(r"\| high \|.*\| 48 \|", table)
    assert re.search(r"\| native_multiband_tiny_2x12 \|.*\| 24 \|", table)

    page = (report / "listening.html").read_text()
    key = json.loads((report / "listening_key.json").read_text())
    assert "high" not in page
    assert all(
        set(k.values()) == {*names, "sinc", "band_replication", "target"} for k in key.values()
    )
    levels = set()
    for path in sorted((report / "listening").glob("00_*.flac")):
        wave, _ = soundfile.read(path)
        levels.add(round(float((wave**2).mean() ** 0.5), 3))
    assert max(levels) - min(levels) < 0.01  # all at one level

    again = run_cli(*command)
    assert again.returncode == 0, again.stderr
    assert "continuing at step 3" in again.stdout
    assert json.loads((report / "scores.json").read_text())["models"].keys() == wanted


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("high_band.py:tiny_codec", r"codec: the codec decodes to 24000 Hz, .*input_rate=24000"),
        ("opus_bbwe.py:tiny_codec", "opus_bbwe takes 16000 Hz alone: give a codec that decodes to"),
        ("opus_bbwe.py:tiny_neucodec", "24000 -> 48000 Hz: streaming systems take 16000 Hz alone"),
        ("ms_bwe.py:tiny", "ms_bwe takes 16000 Hz"),
        ("high_band.py:tiny_neucodec --config.data.codec=OTHER", "these runs name .*, OTHER: give"),
    ],
)
def test_what_cannot_stand_together_is_refused_before_anything_is_trained(
    config: str, says: str, codec_24k_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    overrides = [f"--config.data.codec={codec_24k_folder}", "--config.train.batch_size=8"]
    with pytest.raises(UserError, match=says):
        compare([NATIVE, f"configs/{config}"], 1, corpus, tmp_path / "report", overrides)
    assert not (tmp_path / "report").exists()


def test_the_codec_of_all_runs_is_loaded_once(
    codec_24k_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = FrozenCodec.load.__func__

    def counted(cls: type, where: str, *settings: object) -> FrozenCodec:
        loaded.append(where)
        return load(cls, where, *settings)

    monkeypatch.setattr(FrozenCodec, "load", classmethod(counted))
    runs = [NATIVE, "configs/high_band.py:tiny_neucodec", "configs/ms_bwe.py:tiny_neucodec"]
    overrides = [f"--config.data.codec={codec_24k_folder}", "--config.train.batch_size=8"]
    with pytest.raises(UserError, match="no such folder of recordings"):
        compare(runs, 1, tmp_path / "none", tmp_path / "report", overrides)
    assert loaded == [str(codec_24k_folder)]
