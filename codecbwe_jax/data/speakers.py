"""Who speaks, by the names of files and folders."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePath

from codecbwe_jax.errors import UserError

EXAMPLE = r"'([^/]+)/[^/]*$' takes the folder's name, '^(\w+)-' what is before a first -"
# A file's name, without its ending, in which corpora tell their speakers.
FORMS = (
    re.compile(r"^(?:vctk[_-])?(p\d{3}|s5)_\d{3}(?:_|$)", re.IGNORECASE),  # VCTK
    re.compile(r"^(\d+)_\d+_\d{6}(?:_\d{6})?$"),  # LibriTTS, MLS
    re.compile(r"^(\d+)-\d+-\d{4}$"),  # LibriSpeech
    re.compile(r"^(LJ)\d{3}-\d{4}$"),  # LJSpeech
)
# A folder that is a speaker's: HiFi-TTS, JVS.
FOLDERS = (re.compile(r"^(\d+)_(?:clean|other)$"), re.compile(r"^(jvs\d{3})$"))
# A path that tells a reader, a book and an utterance of a chapter: HiFi-TTS2.
PATHS = (re.compile(r"(?:^|/)(\d+)/[^/]*[A-Za-z][^/]*/[^/]+_\d+\.\w+$"),)


@dataclasses.dataclass(frozen=True)
class Speaker:
    """Attributes:
    name: of the speaker.
    known: told by the source or a known form of names; else guessed.
    """

    name: str
    known: bool


def pattern(text: str) -> re.Pattern[str] | None:
    """`config.data.speaker_pattern`, compiled; None if it is empty.

    Raises:
      UserError: if it is no regular expression.
    """
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise UserError(
            f"config.data.speaker_pattern {text!r} is no regular expression ({error}); "
            f"for example, {EXAMPLE}"
        ) from None


def speaker(path: PurePath, named: re.Pattern[str] | None = None) -> Speaker:
    """The speaker of a file.

    Args:
      path: below the source's folder.
      named: finds the speaker in the path: its group "speaker", else its first group, else all of
        what it finds.

    Raises:
      UserError: if `named` does not find one.
    """
    if named:
        return Speaker(_named(path, named), True)
    for form in FORMS:
        if match := form.search(path.stem):
            return Speaker(match[1], True)
    for form in PATHS:
        if match := form.search(path.as_posix()):
            return Speaker(match[1], True)
    folders = path.parts[:-1]
    for folder in reversed(folders):
        for form in FOLDERS:
            if match := form.search(folder):
                return Speaker(match[1], True)
    return Speaker(folders[-1] if folders else re.split(r"[_-]", path.stem)[0], False)


def _named(path: PurePath, named: re.Pattern[str]) -> str:
    match = named.search(path.as_posix())
    group = "speaker" if "speaker" in named.groupindex else min(named.groups, 1)
    if not match or not match[group]:
        raise UserError(
            f"config.data.speaker_pattern {named.pattern!r} finds no speaker in "
            f"{path.as_posix()}; for example, {EXAMPLE}"
        )
    return match[group]
