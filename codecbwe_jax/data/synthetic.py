"""Full-band speech-like audio, synthesised: a source-filter voice for trials without data.

Glottal pulses and noise through a moving spectral envelope: formants below 5 kHz, and frication
whose band, up to 20 kHz, depends on the phone. What happens above 8 kHz therefore follows from
what is heard below, as in speech.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from codecbwe_jax.audio import files

RATE = 48000
N_FFT, HOP = 1024, 256


@dataclasses.dataclass(frozen=True)
class Phone:
    """Targets of a speech sound.

    Attributes:
      formants: centre frequencies in Hz of a voice of average size; empty without voicing.
      voicing: amplitude of the glottal source.
      noise: (low, high) band edges in Hz of frication, or None.
      noise_level: amplitude of that noise.
      seconds: typical length.
    """

    formants: tuple[float, ...] = ()
    voicing: float = 0.0
    noise: tuple[float, float] | None = None
    noise_level: float = 0.0
    seconds: float = 0.1


PHONES = {
    "a": Phone((750, 1250, 2550, 3500), 1.0, seconds=0.14),
    "e": Phone((480, 1900, 2550, 3550), 0.9, seconds=0.12),
    "i": Phone((300, 2250, 3000, 3700), 0.8, seconds=0.11),
    "o": Phone((480, 880, 2450, 3400), 0.9, seconds=0.13),
    "u": Phone((320, 800, 2300, 3300), 0.8, seconds=0.12),
    "m": Phone((260, 1100, 2200, 3200), 0.4, seconds=0.08),
    "l": Phone((360, 1300, 2700, 3400), 0.6, seconds=0.07),
    "s": Phone(noise=(5200, 20000), noise_level=0.30, seconds=0.12),
    "sh": Phone(noise=(2400, 9500), noise_level=0.32, seconds=0.12),
    "f": Phone(noise=(1300, 15000), noise_level=0.10, seconds=0.10),
    "z": Phone((280, 1700, 2600), 0.35, (4800, 18000), 0.20, 0.10),
    "t": Phone(noise=(3200, 16000), noise_level=0.28, seconds=0.035),
    "k": Phone(noise=(1600, 8500), noise_level=0.25, seconds=0.04),
    "pause": Phone(seconds=0.15),
}
# of all noise levels below, against a voicing of 1
FRICATION = 0.55
VOWELS = ("a", "e", "i", "o", "u")
CONSONANTS = ("m", "l", "s", "sh", "f", "z", "t", "k")


@dataclasses.dataclass(frozen=True)
class Voice:
    """A speaker: f0 in Hz, vocal-tract scale, breath noise, spectral tilt in dB per octave."""

    f0: float
    tract: float
    breath: float
    tilt: float


def make_voice(seed: int) -> Voice:
    """A voice drawn from a seed."""
    rng = np.random.default_rng([seed, 1])
    size = rng.uniform()
    return Voice(
        f0=90 * 2.6**size * rng.uniform(0.92, 1.08),
        tract=0.86 + 0.3 * size,
        breath=rng.uniform(0.01, 0.04),
        tilt=rng.uniform(-9.0, -6.5),
    )


def _phones(rng: np.random.Generator, seconds: float) -> list[tuple[Phone, float]]:
    sequence, total = [(PHONES["pause"], 0.1)], 0.1
    while total < seconds:
        names = [str(rng.choice(CONSONANTS)), str(rng.choice(VOWELS))]
        if rng.random() < 0.12:
            names.append("pause")
        for name in names:
            length = PHONES[name].seconds * rng.uniform(0.75, 1.35)
            sequence.append((PHONES[name], length))
            total += length
    return sequence


def _band(frequencies: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth pass band: half a cosine over a third of an octave at each edge."""
    octaves = np.log2(np.maximum(frequencies, 1.0))
    rise = np.clip((octaves - np.log2(low)) * 3 + 0.5, 0, 1)
    fall = np.clip((np.log2(high) - octaves) * 3 + 0.5, 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))


def _resonances(frequencies: np.ndarray, phone: Phone, voice: Voice) -> np.ndarray:
    gain = np.zeros_like(frequencies)
    for formant in phone.formants:
        centre = formant * voice.tract
        width = 60 + 0.06 * centre
        gain += 1.0 / (1.0 + ((frequencies - centre) / width) ** 2) ** 0.5
    octaves = np.log2(np.maximum(frequencies, 100.0) / 100.0)
    return (gain + 0.03) * 10 ** (voice.tilt * octaves / 20) * (frequencies > 60)


def utterance(voice: Voice, seconds: float, seed: int) -> np.ndarray:
    """Speak random syllables.

    Args:
      voice: who speaks.
      seconds: length of the result.
      seed: of what is said.

    Returns:
      float32 `[seconds * 48000]`, peak 0.5 to 0.9.
    """
    rng = np.random.default_rng([seed, 2])
    samples = int(seconds * RATE)
    frames = samples // HOP + 1
    frequencies = np.fft.rfftfreq(N_FFT, 1 / RATE)
    voiced = np.zeros((frames, len(frequencies)))
    noisy = np.zeros_like(voiced)
    begin = 0.0
    for phone, length in _phones(rng, seconds):
        first, last = int(begin * RATE / HOP), int((begin + length) * RATE / HOP)
        level = rng.uniform(0.7, 1.0)
        if phone.formants:
            voiced[first:last] = level * phone.voicing * _resonances(frequencies, phone, voice)
        breath = voice.breath * phone.voicing * _band(frequencies, 1500, 12000)
        noisy[first:last] = level * breath
        if phone.noise:
            low, high = (edge * voice.tract**0.5 for edge in phone.noise)
            # frication falls by 9 dB an octave above its peak
            falling = np.maximum(1.0, frequencies / (1.4 * low)) ** -1.5
            band = falling * _band(frequencies, low, high)
            noisy[first:last] += FRICATION * level * phone.noise_level * band
        begin += length
    kernel = np.hanning(7) / np.hanning(7).sum()  # about 35 ms from one phone to the next
    smooth = [np.apply_along_axis(np.convolve, 0, env, kernel, "same") for env in (voiced, noisy)]
    sources = (_glottal_pulses(voice, samples, rng), rng.standard_normal(samples) * 0.25)
    y = sum(_filter(source, env) for source, env in zip(sources, smooth, strict=True))
    y += 1e-5 * rng.standard_normal(samples)
    return (y * rng.uniform(0.5, 0.9) / np.abs(y).max()).astype(np.float32)


def _glottal_pulses(voice: Voice, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Impulses at a wandering f0, each split over two samples to lie between them."""
    drift = np.interp(np.arange(samples), np.linspace(0, samples, 12), rng.normal(0, 0.06, 12))
    contour = voice.f0 * np.exp(drift - 0.1 * np.arange(samples) / samples)
    turns = np.cumsum(contour) / RATE
    at = np.nonzero(np.diff(np.floor(turns)))[0]
    fraction = 1 - (turns[at + 1] % 1.0) * RATE / contour[at]
    strength = np.sqrt(RATE / contour[at]) * (1 + 0.03 * rng.standard_normal(len(at)))
    pulses = np.zeros(samples)
    pulses[at] += strength * (1 - fraction)
    pulses[at + 1] += strength * fraction
    return pulses


def _filter(x: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Apply a magnitude response for each frame by STFT, overlap-add."""
    window = np.hanning(N_FFT + 1)[:-1]
    padded = np.pad(x, N_FFT)
    y = np.zeros_like(padded)
    for t, response in enumerate(envelope):
        start = t * HOP + N_FFT // 2
        piece = padded[start : start + N_FFT] * window
        y[start : start + N_FFT] += np.fft.irfft(np.fft.rfft(piece) * response) / 2
    return y[N_FFT : N_FFT + len(x)]


def write_corpus(folder: Path, speakers: int = 8, clips: int = 8, seconds: float = 3.0) -> None:
    """Write `speakers * clips` FLAC files as `folder/voice_NN/clip_NN.flac`, unless they exist."""
    for s in range(speakers):
        for c in range(clips):
            path = folder / f"voice_{s:02d}" / f"clip_{c:02d}.flac"
            if not path.exists():
                files.write(path, utterance(make_voice(s), seconds, 1000 * s + c), RATE)
