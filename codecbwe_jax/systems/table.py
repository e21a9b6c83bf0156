"""README's table of systems, of what the files here say of themselves and of stored figures."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from codecbwe_jax.systems.facts import Facts, stored

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
HEAD = "| system | takes | gives | what it is | source |\n|---|---|---|---|---|"


def markdown() -> str:
    """A row for each system whose figures are stored. What it is stands in the first
    paragraph of its file's docstring, and where it is from after "Source:" in the last."""
    return "\n".join([HEAD, *(_row(name, f) for name, f in stored().items())])


def _row(name: str, facts: Facts) -> str:
    paragraphs = [" ".join(p.split()) for p in _docstring(name).strip().split("\n\n")]
    what, last = paragraphs[0].rstrip("."), paragraphs[-1]
    source = last.removeprefix("Source:").strip() if last.startswith("Source:") else ""
    linked = re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)
    cells = (f"`{name}`", _takes(facts), _rate(facts.output_rate), what + _figures(facts), linked)
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _docstring(name: str) -> str:
    """Of a system's file, without importing it."""
    path = Path(__file__).with_name(f"{name}.py")
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _takes(facts: Facts) -> str:
    if facts.takes == "tokens":
        return "tokens"
    return f"{_rate(facts.input_rate)} {'stream' if _streams(facts) else 'waveform'}"


def _streams(facts: Facts) -> bool:
    """Whether it sees less of the future than of the past."""
    return facts.delay_ms < facts.receptive_field_ms


def _figures(facts: Facts) -> str:
    if not facts.parameters:
        return ""
    text = f"; {_short(facts.parameters).strip()} parameters, {_short(facts.macs_per_second)}MAC/s"
    return f"{text}, {facts.delay_ms:.1f} ms" if _streams(facts) else text


def _rate(hertz: int) -> str:
    return f"{hertz / 1000:g} kHz"


def _short(count: int) -> str:
    """Three digits and the prefix of a unit, as "29.8 M"."""
    rounded = float(f"{count:.3g}")
    size, prefix = next((u for u in UNITS if rounded >= u[0]), UNITS[-1])
    return f"{rounded / size:g} {prefix}"
