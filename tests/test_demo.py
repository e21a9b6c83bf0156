"""The demo in small, as a person runs it; the full one is measured in benchmarks/RESULTS.md."""

import json
import subprocess
import sys
from pathlib import Path

import soundfile

from codecbwe_jax.inference.tokens import TokenFile
from tests.commands import run_to_end
from tests.conftest import CODEC_TRAINING, FEW_VOICES, POST_HOC_LOSSES, sizes

# They beat both baselines by far: a distance of 2.8 above the edge, theirs being 4.1 and 4.5.
STEPS = 10
# its recipes with networks and losses whose steps compile in seconds
AP_BWE = [*sizes("", {"channels": 32, "layers": 1}), *POST_HOC_LOSSES]
SMALL = f"""{FEW_VOICES}
import sys
from codecbwe_jax import cli, demo
from codecbwe_jax.training.settings import load_run
small = {{demo.CODEC_CONFIG: {CODEC_TRAINING}, demo.CONFIG: {AP_BWE}}}
demo.load_config = lambda path, given: load_run(path, [*small[path], *given])
sys.exit(cli.main(["demo", *sys.argv[1:]]))
"""


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    """`codecbwe demo` in a process of its own, on small networks."""
    command = [sys.executable, "-c", SMALL, f"--steps={STEPS}", "--output=out"]
    return run_to_end(command, cwd=folder, text=True)


def test_the_demo_tells_the_whole_story(tmp_path: Path) -> None:
    result = run_demo(tmp_path)
    out = tmp_path / "out"
    assert result.returncode == 0, result.stderr
    assert {p.name for p in out.iterdir()} >= {
        "data",
        "codec",
        "cache",
        "train",
        "export",
        "speech.tokens",
        "decoded.wav",
        "clips",
        "scores.json",
        "extended.wav",
        "report.html",
    }
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores["models"]) == ["sinc", "band_replication", "ap_bwe"]
    assert scores["codec"] == TokenFile.read(out / "speech.tokens").codec
    decoded, extended = (soundfile.info(out / f"{name}.wav") for name in ("decoded", "extended"))
    assert (decoded.samplerate, extended.samplerate) == (16000, 48000)
    assert extended.frames == 3 * decoded.frames
    above = {name: model["lsd_high"] for name, model in scores["models"].items()}
    assert above["ap_bwe"] < 0.9 * min(above["sinc"], above["band_replication"])
    again = run_demo(tmp_path)
    assert again.stdout.count(f"continuing at step {STEPS}") == 2
    assert "0 of 1 left" in again.stdout
    assert json.loads((out / "scores.json").read_text())["clips"] == scores["clips"]
