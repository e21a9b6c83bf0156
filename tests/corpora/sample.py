"""HiFi-TTS2 in small, of synthetic voices."""

import json
from pathlib import Path

import soundfile
import soxr

from codecbwe_jax.data import synthetic

RATE = 44100


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def hifi_tts2(folder: Path, chapters: int = 2, utterances: int = 3) -> Path:
    """HiFi-TTS2 as it arrives: MP3 chapters of 1 s utterances, and the two lists."""
    said, parts = [], []
    for c in range(chapters):
        name = f"{90001 + c}/book/book_{c:02d}"
        seconds = utterances + 0.5
        x = synthetic.utterance(synthetic.make_voice(c), seconds, c)
        path = folder / "chapters" / f"book_{c:02d}.mp3"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, soxr.resample(x, 48000, RATE), RATE)
        cut = [
            {"audio_filepath": f"{name}_{u}.flac", "offset": u + 0.25, "duration": 1.0}
            for u in range(utterances)
        ]
        length = soundfile.info(path).duration
        parts.append(
            {
                "url": f"chapters/book_{c:02d}.mp3",
                "chapter_filepath": f"{name}.flac",
                "duration": length,
                "bandwidth": 19810 if c != 1 else 10335,
                "utterances": cut,
            }
        )
        said += [
            {
                "audio_filepath": part["audio_filepath"],
                "speaker": str(90001 + c),
                "set": "train",
                "duration": 1.0,
                "bandwidth": 19810 if c != 1 else 10335,
                "speaker_count": 1,
                "wer": 0.0,
                "cer": 0.0,
                "text": "A text.",
                "normalized_text": "a text",
            }
            for part in cut
        ]
    write_lines(folder / "chapters_44khz.json", parts)
    write_lines(folder / "manifest_44khz.json", said)
    return folder
