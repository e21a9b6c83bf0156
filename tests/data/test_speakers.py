from pathlib import PurePath

import pytest

from codecbwe_jax.data import speakers
from codecbwe_jax.errors import UserError


@pytest.mark.parametrize(
    ("path", "name", "known"),
    [
        ("p225_001.flac", "p225", True),
        ("vctk_p225_001_mic1.flac", "p225", True),
        ("s5_001.wav", "s5", True),
        ("84/121123/84_121123_000007_000001.wav", "84", True),
        ("84-121123-0000.flac", "84", True),
        ("10214_10108_000000.flac", "10214", True),
        ("2021-03-04.wav", "2021", False),
        ("anna/s1_001.wav", "anna", False),
        ("LJ001-0001.wav", "LJ", True),
        ("jvs001/parallel100/wav24kHz16bit/VOICE_001.wav", "jvs001", True),
        ("audio/92_clean/100/x_01.flac", "92", True),
        ("90001/sample_book/sample_book_01_reader_0.flac", "90001", True),
        ("2021/march/1.wav", "march", False),
        ("anna/a.wav", "anna", False),
        ("kathleen_f01_b0108.flac", "kathleen", False),
    ],
)
def test_speakers_are_read_from_the_names_of_corpora(path: str, name: str, known: bool) -> None:
    assert speakers.speaker(PurePath(path)) == speakers.Speaker(name, known)


def test_a_pattern_names_speakers() -> None:
    named = speakers.pattern(r"_(?P<speaker>[a-z]+)\.")
    assert speakers.speaker(PurePath("x/p225_001_anna.wav"), named).name == "anna"
    with pytest.raises(UserError, match=r"finds no speaker in x/1.wav; for example"):
        speakers.speaker(PurePath("x/1.wav"), named)
    with pytest.raises(UserError, match="no regular expression"):
        speakers.pattern("(")
