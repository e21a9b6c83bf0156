from pathlib import Path

import pytest

from codecbwe_jax import json_lines
from codecbwe_jax.errors import UserError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_of_other_systems_are_read(tmp_path: Path, encoding: str, ending: str) -> None:
    (tmp_path / "list.txt").write_bytes(f"ä.wav{ending}{ending}b.wav".encode(encoding))
    assert list(json_lines.lines(tmp_path / "list.txt")) == [(1, "ä.wav"), (3, "b.wav")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{\xe4}", r"m.jsonl:2: not UTF-8 text"),
        (b"[1]", r"m.jsonl:2: expected a JSON object, got '\[1\]'"),
        (b"[" * 100_000, r"m.jsonl:2: expected a JSON object"),
        (b'{"n": "abc"}', r"m.jsonl:2: n is 'abc'; a number of seconds is expected"),
        (b'{"n": true}', r"m.jsonl:2: n is True"),
        (b'{"n": NaN}', r"m.jsonl:2: n is nan"),
        (b'{"n": 1' + b"0" * 400 + b"}", r"m.jsonl:2: n is 1000"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'{"n": "3.5"}\n' + line)
    with pytest.raises(UserError, match=message):
        assert [row.number("n", "seconds") for row in json_lines.rows(tmp_path / "m.jsonl")]


def test_an_array_of_objects_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('[{"speaker": 7},\n {"speaker": null}]')
    assert [row.text("speaker") for row in json_lines.rows(tmp_path / "m.json")] == ["7", ""]
