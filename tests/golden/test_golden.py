"""Every golden case against our code: `CODECBWE_GOLDEN=DIR[:DIR...] pytest tests/golden`.

Each folder named in the path list holds case folders (links are followed). The default is the
project's own copies. Of other cases, one whose settings our code does not take is skipped, with
the setting; the project's own must all pass.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import jax
import pytest

from tests.golden.adapters import ADAPTERS, FULL_NETWORKS
from tests.golden.case import RELATIVE, Case, Check, compare, toothless
from tests.golden.settings import NotSupportedError, Settings

DEFAULT = Path(__file__).with_name("cases")
# what a checkpoint holds that no training changes, filters, windows, rotations, counters; and what
# an X-Codec 2.0's holds for training alone
CONSTANTS = re.compile(
    r".*(upsample|lowpass|downsample)\.filter|(.*\.)?window|.*mel_scale\.fb|imdct\.\w+_twiddle"
    r"|(.*\.)?rotary_emb\.inv_freq|(.*\.)?(analysis|synthesis|updown)_filter|.*num_batches_tracked"
    r"|(fc_post_s|SemanticDecoder_module|discriminator|spec_discriminator)\..*"
)
# One program for what a case computes, or a few: as single operations all cases take minutes.
MOST_PROGRAMS = 24
compiled: list[str] = []


def note_compiled(event: str, _: float, **__: object) -> None:
    if event.endswith("backend_compile_duration"):
        compiled.append(event)


jax.monitoring.register_event_duration_secs_listener(note_compiled)


def case_folders() -> list[Path]:
    roots = [Path(p) for p in os.environ.get("CODECBWE_GOLDEN", str(DEFAULT)).split(os.pathsep)]
    for root in roots:
        if not root.is_dir():
            raise pytest.UsageError(f"CODECBWE_GOLDEN: {root} is not a folder")
    return [f for root in roots for f in sorted(root.iterdir()) if (f / "config.json").is_file()]


FOLDERS = case_folders()


@pytest.fixture(autouse=True)
def _full_precision():
    with jax.default_matmul_precision("highest"):
        yield


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_golden(folder: Path) -> None:
    """What we compute is what the original did; every comparison could have failed: zeros do; and
    every setting of the case was looked at."""
    if folder.name not in ADAPTERS:
        pytest.skip(f"no network of kind {folder.name} is registered yet")
    case, before = Case(folder), len(compiled)
    try:
        results = ADAPTERS[case.kind](case)
    except NotSupportedError as refusal:
        if folder.parent == DEFAULT:
            raise
        pytest.skip(f"{case.kind}: {refusal}")
    programs = len(compiled) - before
    print(f"{case.kind}: {programs} programs")
    assert programs <= MOST_PROGRAMS or folder.parent != DEFAULT, f"{programs} programs"
    problems = []
    for name, check in results.items():
        check = check if isinstance(check, Check) else Check(check)
        usual = check.relative <= RELATIVE and check.where is None
        assert usual or check.reason, f"{name}: a looser comparison, no reason"
        wrong = compare(case, name, check)
        problems.append(wrong or toothless(case, name, check))
    compared = {name.split("@")[0] for name in results}
    forgotten = set(case.io) - compared - case.inputs - set(case.left_out)
    problems += [f"{name}: not compared" for name in sorted(forgotten)]
    problems += [f"small_config: {path} was not looked at" for path in case.small.unread()]
    problems = [p for p in problems if p]
    assert not problems, "\n".join(problems)
    for name, reason in case.left_out.items():
        print(f"{case.kind}: {name} left out: {reason}")


@pytest.mark.parametrize(
    "folder", [f for f in FOLDERS if f.name in FULL_NETWORKS], ids=lambda f: f.name
)
def test_official_names(folder: Path) -> None:
    """The weight map gives the official checkpoint's names and shapes, all but constants'."""
    case = Case(folder)
    official = case.full_keys()
    if official is None:
        pytest.skip(f"{case.kind}: no full_keys.json in {folder}")
    ours = FULL_NETWORKS[case.kind](Settings(case.config["full_config"]))
    forms = {k.partition("/")[0] for k in ours if "/" in k}
    for form in {k.partition("/")[0] for k in official if "/" in k} - forms:
        print(f"{case.kind}: {form} left out: ours has no such form")
        official = {k: v for k, v in official.items() if not k.startswith(f"{form}/")}
    ours, official = (
        {k: v for k, v in keys.items() if not CONSTANTS.fullmatch(k)} for keys in (ours, official)
    )
    assert ours == official
