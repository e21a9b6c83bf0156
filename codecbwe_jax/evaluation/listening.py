"""A page to listen to: every system on the same clips, at one level, blind on request."""

from __future__ import annotations

import html
import string

import numpy as np

from codecbwe_jax.audio import files
from codecbwe_jax.config import write_json, write_text
from codecbwe_jax.evaluation.evaluate import Evaluation
from codecbwe_jax.evaluation.figures import data_uri, side_by_side
from codecbwe_jax.evaluation.report import STYLE


def write_listening_page(evaluation: Evaluation, blind: bool = False, seed: int = 0) -> None:
    """Write `listening.html` and the level-matched clips of its players, `listening/`.

    Args:
      evaluation: whose clips are heard; every output is brought to the level (RMS) of its target.
      blind: letters take the place of names, in another order for every clip, and spectrograms are
        left out; `listening_key.json` tells which is which.
      seed: of the orders.

    Raises:
      UserError: if it cannot be written.
    """
    e, rng = evaluation, np.random.default_rng(seed)
    names = [*(row.name for row in e.rows), "target"]
    sections, key = [], {}
    for i, clip in enumerate(e.clips):
        order = list(rng.permutation(names)) if blind else names
        labels = dict(zip(order, _letters(len(order)) if blind else order, strict=True))
        key[f"Clip {i + 1}"] = {label: str(name) for name, label in labels.items()}
        waves = {name: e.waveform(i, name) for name in names}
        matched = {label: _at_level(waves[name], waves["target"]) for name, label in labels.items()}
        for number, wave in enumerate(matched.values()):
            files.write(e.folder / "listening" / f"{i:02d}_{number}.flac", wave, e.rate, "PCM_24")
        players = "".join(
            f"<div>{html.escape(label)}<audio controls preload='none' "
            f"src='listening/{i:02d}_{number}.flac'></audio></div>"
            for number, label in enumerate(matched)
        )
        source = data_uri(side_by_side(matched, e.rate)) if not blind else ""
        picture = f"<img alt='spectrograms' src='{source}'>" if source else ""
        title = f"Clip {i + 1}" if blind else html.escape(clip)
        sections.append(f"<h2>{title}</h2>{picture}<div class='players'>{players}</div>")
    order = "in another order for every clip" if blind else "by name"
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Listening</title>"
        f"<style>{STYLE}</style><h1>Listening</h1><p>All at the level of the recording, {order}."
        f"</p>{''.join(sections)}</html>\n"
    )
    if blind:
        write_json(e.folder / "listening_key.json", key)
    write_text(e.folder / "listening.html", page)


def _letters(count: int) -> list[str]:
    return [string.ascii_uppercase[i] if i < 26 else f"Z{i}" for i in range(count)]


def _at_level(wave: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A waveform with the target's RMS, unless it would clip."""
    rms = np.sqrt(np.mean(np.square(wave)))
    gain = np.sqrt(np.mean(np.square(target))) / max(float(rms), 1e-9)
    peak = float(np.max(np.abs(wave), initial=1e-9))
    return (wave * min(gain, 1.0 / peak)).astype(np.float32)
