"""Programs of ONNX, written by PyTorch and run by onnxruntime."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime
    import torch


def write(
    module: torch.nn.Module,
    given: Mapping[str, torch.Tensor],
    results: Sequence[str],
    path: Path,
    lengths: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write the program of a module.

    Args:
      module: to trace.
      given: examples of what it takes, by the names that the program gives them.
      results: names of what it gives.
      path: of the file to write.
      lengths: axes of any length and their names, for some of those names.
    """
    import torch

    with warnings.catch_warnings():
        # The newer exporter (dynamo) takes a minute for a network of a few layers and, in torch
        # 2.13, makes a wrong program of Opus' padded filters; this one is called out of date.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=list(results),
            dynamic_axes=lengths or {},
            opset_version=17,
            dynamo=False,
        )


def write_for_any_length(
    module: torch.nn.Module, path: Path, waveform: torch.Tensor, *noise: torch.Tensor
) -> None:
    """The same of a module from a "waveform", and "noise" where it begins in some, to a "wide" one,
    traced on examples."""
    given = {"waveform": waveform, **({"noise": noise[0]} if noise else {})}
    lengths = {"waveform": {0: "batch", 1: "samples"}, "wide": {0: "batch", 1: "wide_samples"}}
    if noise:
        lengths["noise"] = {0: "batch", 1: "frames"}
    write(module, given, ["wide"], path, lengths)


def session(path: Path) -> onnxruntime.InferenceSession:
    """A program on one thread: several wait for one another in a loop."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)
