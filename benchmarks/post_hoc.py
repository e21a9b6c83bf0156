"""Post-hoc systems at full size on one CPU thread: JAX, PyTorch and onnxruntime, interleaved.

python -m benchmarks.post_hoc --systems opus_bbwe bbwexnet high_band

A streaming system is timed by 10 ms frames, pushed one after another; the others by whole seconds.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import Run, hardware, interleaved

FRAMES = 100
SECONDS = 2


def exported(name: str, folder: Path) -> None:
    """A model of the default size with fresh weights, in all three forms."""
    import jax

    from codecbwe_jax.inference.model import Model
    from codecbwe_jax.interop.export import export_onnx
    from codecbwe_jax.systems import build

    system = build({"name": name})
    params = jax.device_get(system.init(jax.random.key(0)))
    export_onnx(Model(name, system, params, {}), folder)


def noise(samples: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((1, samples)).astype(np.float32)


def jax_run(folder: Path) -> Run:
    import jax

    from codecbwe_jax.inference.model_folders import load_model
    from codecbwe_jax.inference.streaming import StreamingExtender
    from codecbwe_jax.systems.streaming import StreamingSystem

    model = load_model(folder)
    if isinstance(model.system, StreamingSystem):
        extender = StreamingExtender(model)
        frames = np.split(noise(160 * FRAMES)[0], FRAMES)
        return lambda: [extender.push(frame) for frame in frames]
    wave, key = noise(SECONDS * model.system.input_rate), jax.random.key(0)
    extend, params = jax.jit(model.system.extend), jax.device_put(model.params)
    return lambda: extend(params, wave, key).block_until_ready()


def torch_run(folder: Path) -> Run:
    import torch

    from codecbwe_jax.interop import verify

    torch.set_num_threads(1)
    model = verify.load(folder)
    if (folder / "begin.safetensors").exists():
        frames = noise(160 * FRAMES)

        def stream() -> None:
            state = model.begin()
            with torch.inference_mode():
                for frame in torch.from_numpy(frames).split(160, dim=1):
                    _, *state = model(frame, *state)

        return stream
    wave = torch.from_numpy(noise(SECONDS * model.input_rate))
    return lambda: model.extend(wave)


def onnx_run(folder: Path) -> Run:
    import onnxruntime
    from safetensors.numpy import load_file

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", options)
    if (folder / "begin.safetensors").exists():
        first, frames = load_file(folder / "begin.safetensors"), noise(160 * FRAMES)

        def stream() -> None:
            state = first
            for frame in np.split(frames, FRAMES, axis=1):
                _, *after = session.run(None, {"frame": frame, **state})
                state = dict(zip(sorted(first), after, strict=True))

        return stream
    wave = noise(SECONDS * 16000)
    return lambda: session.run(None, {"waveform": wave})


def peak_flops() -> float:
    """Operations per second of one large float32 matrix product on this thread, in JAX."""
    import jax

    x = jax.numpy.ones((1024, 1024), "float32")
    product, times = jax.jit(lambda x: x @ x), []
    for _ in range(12):
        began = time.perf_counter()
        product(x).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * 1024**3 / float(np.median(times[2:]))


def frame_times(folder: Path) -> tuple[float, float, float]:
    """Median, 99th percentile and worst milliseconds of a 10 ms push."""
    from codecbwe_jax.inference.streaming import StreamingExtender

    extender, frame, times = StreamingExtender.load(folder), noise(160)[0], []
    for _ in range(3000):
        began = time.perf_counter()
        extender.push(frame)
        times.append(1000 * (time.perf_counter() - began))
    times = times[100:]
    return float(np.median(times)), float(np.percentile(times, 99)), max(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", default=["opus_bbwe", "bbwexnet"])
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.sched_setaffinity(0, {0})
    # after the process has one CPU: XLA makes as many threads as it sees
    from codecbwe_jax.systems import build
    from codecbwe_jax.systems.facts import facts

    print(f"{hardware()}; 1 thread")
    runs = {"jax": jax_run, "torch": torch_run, "onnx": onnx_run}
    peak = peak_flops()
    print(f"float32 matrix product: {peak / 1e9:.0f} GFLOP/s")
    for name in args.systems:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / name
            exported(name, folder)
            contenders = {k: functools.partial(make, folder) for k, make in runs.items()}
            results = interleaved(contenders, args.rounds)
            streams = (folder / "begin.safetensors").exists()
            seconds = FRAMES / 100 if streams else SECONDS
            factors = {k: t.median / seconds for k, t in results.items()}
            shown = ", ".join(f"{k} {factor:.4f}" for k, factor in factors.items())
            operations = 2 * facts(build({"name": name})).macs_per_second
            share = operations / factors["jax"] / peak
            print(
                f"{name}: real-time factor {shown}; JAX / PyTorch "
                f"{factors['jax'] / factors['torch']:.2f}, {100 * share:.0f} % of the peak"
            )
            if streams:
                median, high, worst = frame_times(folder)
                print(f"  10 ms push: {median:.2f} ms, 99 % {high:.2f}, worst {worst:.2f}")


if __name__ == "__main__":
    main()
