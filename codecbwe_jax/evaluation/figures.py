"""Spectrograms as pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np

from codecbwe_jax.evaluation.metrics import spectrum

DYNAMIC_RANGE_DB = 90.0


def level_db(x: np.ndarray) -> np.ndarray:
    """Log power of an STFT 1024/256: `[frames, bins]`, 0 dB at full scale."""
    power = np.abs(spectrum(x.astype(np.float64), 1024, 256)) ** 2 / (1024 / 4) ** 2
    return 10 * np.log10(np.maximum(power, 1e-12))


def spectrogram_pixels(x: np.ndarray, rate: int) -> np.ndarray:
    """Spectrogram of `[samples]`, low frequencies at the bottom: uint8 `[bins, frames, 3]`."""
    import matplotlib

    level = np.clip(level_db(x) / DYNAMIC_RANGE_DB + 1.0, 0.0, 1.0)
    colours = matplotlib.colormaps["magma"](level.T[::-1])
    return (255 * colours[..., :3]).astype(np.uint8)


def side_by_side(waveforms: Mapping[str, np.ndarray], rate: int) -> bytes:
    """PNG with one spectrogram for each waveform, on common axes and one colour scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(waveforms), 3.2), layout="constrained")
    axes = figure.subplots(1, len(waveforms), sharey=True, squeeze=False)[0]
    for axis, (title, x) in zip(axes, waveforms.items(), strict=True):
        image = axis.imshow(
            level_db(x).T,
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-DYNAMIC_RANGE_DB - 10,
            vmax=-10,
            extent=(0, len(x) / rate, 0, rate / 2000),
        )
        axis.set_title(title)
        axis.set_xlabel("s")
    axes[0].set_ylabel("kHz")
    figure.colorbar(image, ax=axes, label="dB")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def data_uri(png: bytes) -> str:
    """A PNG for the src of an HTML image."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
