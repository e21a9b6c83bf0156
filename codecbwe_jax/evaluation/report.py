"""An evaluation as one HTML page: a table, spectrograms, players."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import soxr

from codecbwe_jax.config import write_text
from codecbwe_jax.evaluation.evaluate import Evaluation, Row
from codecbwe_jax.evaluation.figures import data_uri, side_by_side

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { padding: .35rem .8rem; text-align: right; border-bottom: 1px solid #ddd }
th { vertical-align: bottom; font-weight: 600 } th:first-child, td:first-child { text-align: left }
td.best { font-weight: 700 } img { max-width: 100% } dt { font-weight: 600 } dd { margin: 0 0 .3rem 1rem }
.players { display: flex; flex-wrap: wrap; gap: 1rem } .players audio { display: block; width: 16rem }
"""  # noqa: E501
# Which way a figure is better; those not named here are best near a value.
LOWER = {"lsd", "lsd_low", "lsd_high", "lsd_octave", "mr_stft"}
NEAR = {"sharpness": 1.0, "rumble": 0.0, "step": 0.0}
SPREAD_TITLE = "LSD above the edge by filter"


def write_report(
    evaluation: Evaluation, path: Path, title: str, notes: list[str], shown: int = 2
) -> None:
    """Write the page.

    Args:
      evaluation: what to show; players point into its `clips/`.
      path: of the page, in the evaluation's folder.
      title: heading.
      notes: sentences under the heading.
      shown: of how many clips spectrograms are drawn.

    Raises:
      UserError: if it cannot be written.
    """
    e = evaluation
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [f"<p>{html.escape(note)}</p>" for note in notes]
    parts.append(_table(e))
    parts += [_spread_table(e)] if e.lowpasses else []
    parts += [_clip(e, i, draw=i < shown) for i in range(len(e.clips))]
    definitions = [f"<dt>{f.title}</dt><dd>{html.escape(f.formula)}</dd>" for f in e.figures]
    factor = "seconds of computing per second of output on this machine, compilation left out"
    definitions.append(f"<dt>Real-time factor</dt><dd>{factor}</dd>")
    parts.append(f"<h2>What the columns are</h2><dl>{''.join(definitions)}</dl>")
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )
    write_text(path, page)


def _distance(key: str, value: float) -> float:
    if key in NEAR:
        return abs(value - NEAR[key])
    return value if key in LOWER else -value


def _bests(e: Evaluation) -> dict[str, float]:
    """The best model's distance by each figure; of one alone there is none."""
    ranked = [row.means for row in e.rows if not row.ceiling]
    if len(ranked) < 2:
        return {}
    return {f.key: np.nanmin([_distance(f.key, m[f.key]) for m in ranked]) for f in e.figures}


def _table(e: Evaluation) -> str:
    head = "".join(f"<th>{f.title}</th>" for f in e.figures)
    facts = list(dict.fromkeys(heading for row in e.rows for heading in row.facts))
    more = "".join(f"<th>{html.escape(heading)}</th>" for heading in facts)
    bests, rows = _bests(e), []
    for row in e.rows:
        cells = []
        for f in e.figures:
            best = not row.ceiling and _distance(f.key, row.means[f.key]) == bests.get(f.key)
            mark = ' class="best"' if best else ""
            cells.append(f"<td{mark}>{_number(row.means[f.key])}</td>")
        cells.append(f"<td>{row.real_time_factor:.4f}</td>")
        cells += [f"<td>{html.escape(row.facts.get(heading, ''))}</td>" for heading in facts]
        rows.append(f"<tr><td>{html.escape(row.name)}</td>{''.join(cells)}</tr>")
    edge = f"{e.edge_hz / 1000:g} kHz"
    caption = f"Means over {len(e.clips)} clips; the edge is {edge}."
    if e.left_out:
        names = ", ".join(html.escape(name) for name, _ in e.left_out)
        caption += f" {len(e.left_out)} cannot be read: {names}."
    return (
        f"<table><tr><th></th>{head}<th>Real-time factor</th>{more}</tr>{''.join(rows)}</table>"
        f"<p>{caption}</p>"
    )


def _spread_table(e: Evaluation) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in (*e.lowpasses, "spread"))
    rows = "".join(
        f"<tr><td>{html.escape(row.name)}</td>"
        + "".join(f"<td>{_number(value)}</td>" for value in _spread_cells(row))
        + "</tr>"
        for row in e.rows
    )
    return f"<h2>{SPREAD_TITLE}</h2><table><tr><th></th>{head}</tr>{rows}</table>"


def _spread_cells(row: Row) -> list[float]:
    return [*(means["lsd_high"] for means in row.by_lowpass.values()), row.spread]


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "undefined"


def _clip(e: Evaluation, i: int, draw: bool) -> str:
    names = ["input", *(row.name for row in e.rows), "target"]
    players = "".join(
        f"<div>{html.escape(name)}"
        f"<audio controls preload='none' src='clips/{e.path(i, name).name}'></audio></div>"
        for name in names
    )
    picture = ""
    if draw:
        waves = {name: e.waveform(i, name) for name in names}
        waves["input"] = soxr.resample(waves["input"], int(2 * e.edge_hz), e.rate)
        picture = f"<img alt='spectrograms' src='{data_uri(side_by_side(waves, e.rate))}'>"
    return f"<h2>{html.escape(e.clips[i])}</h2>{picture}<div class='players'>{players}</div>"


def text_table(e: Evaluation) -> str:
    """The table for a terminal, and under it that of the low-passes, if there were any."""
    keys = [f.key for f in e.figures]
    cells = {row.name: [_number(row.means[key]) for key in keys] for row in e.rows}
    for row in e.rows:
        cells[row.name].append(f"{row.real_time_factor:.4f}")
    table = _columns([*keys, "rtf"], cells)
    if not e.lowpasses:
        return table
    spread = {row.name: [_number(value) for value in _spread_cells(row)] for row in e.rows}
    return f"{table}\n\n{SPREAD_TITLE}\n{_columns([*e.lowpasses, 'spread'], spread)}"


def _columns(headings: list[str], cells: dict[str, list[str]]) -> str:
    width = max(map(len, cells)) + 2
    lines = [" " * width + "".join(f"{heading:>12}" for heading in headings)]
    for name, values in cells.items():
        lines.append(f"{name:<{width}}" + "".join(f"{value:>12}" for value in values))
    return "\n".join(lines)
