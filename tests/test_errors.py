import pytest

from codecbwe_jax.errors import UserError, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grüße.wav", "grüße.wav"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202eabc", r"\u202eabc"),
        ("\udcff.wav", r"\udcff.wav"),
    ],
)
def test_a_message_is_one_line_that_can_be_printed(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert str(UserError(text)) == shown
