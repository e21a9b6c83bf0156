"""One self-contained PyTorch file of a system's file and the parts that it imports."""

from __future__ import annotations

import ast
import itertools
import symtable
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import codecbwe_jax.interop.torch

FOLDER = Path(codecbwe_jax.interop.torch.__path__[0])
PARTS = f"{codecbwe_jax.interop.torch.__name__}.parts."
Import = ast.Import | ast.ImportFrom


def bundle(path: Path) -> str:
    """The text of a Python file that needs nothing of this package.

    The file's docstring and all imports stand first; then come the parts, each after those that it
    imports and under its docstring as a comment, and the file's own code.

    Args:
      path: of a file that imports this package by `from ...parts.x import a, b` at its head alone.

    Raises:
      ValueError: if it is imported in another way, or two files define one name.
    """
    parts = _parts_of(path)
    imports = _imports([*parts, path])
    codes = [_code(file) for file in (*parts, path)]
    _check_names(imports, codes)
    comments = [*map(_comment, parts), ""]
    pieces = [comment + code for comment, code in zip(comments, codes, strict=True)]
    text = f'"""{_docstring(path)}"""\n\n{imports}\n\n' + "\n\n\n".join(pieces) + "\n"
    if PARTS.partition(".")[0] in text or "from ." in text:
        raise ValueError(f"{path}: imports this package other than by names of parts")
    return text


def _parts_of(path: Path) -> list[Path]:
    """All that a file imports from here, each after what it imports itself."""
    found: dict[Path, None] = {}
    for node in _head(path):
        if _is_part(node):
            part = FOLDER / "parts" / f"{node.module.removeprefix(PARTS)}.py"
            found |= dict.fromkeys([*_parts_of(part), part])
    return list(found)


def _head(path: Path) -> list[Import]:
    """The imports below a file's docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body[1:]
    return list(itertools.takewhile(lambda node: isinstance(node, Import), body))


def _is_part(node: Import) -> bool:
    whole = isinstance(node, ast.ImportFrom) and not any(alias.asname for alias in node.names)
    return whole and (node.module or "").startswith(PARTS)


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False)


def _comment(path: Path) -> str:
    """A file's docstring as a comment above its code."""
    lines = _docstring(path).strip().splitlines()
    return "\n".join(f"# {line}".rstrip() for line in lines) + "\n\n\n"


def _code(path: Path) -> str:
    """What stands below a file's imports."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[_head(path)[-1].end_lineno :]).strip("\n")


def _imports(paths: Iterable[Path]) -> str:
    """What files import from elsewhere, once and in order: from Python, then from others."""
    names: dict[tuple[bool, str], set[str]] = {}
    for node in (node for path in paths for node in _head(path) if not _is_part(node)):
        for alias in node.names:
            source = "." * node.level + (node.module or "") if _is_from(node) else alias.name
            names.setdefault((_is_from(node), source), set()).add(ast.unparse(alias))
    sections: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for (is_from, source), listed in sorted(names.items()):
        line = f"from {source} import " if is_from else "import "
        python = source.partition(".")[0] in sys.stdlib_module_names
        place = 0 if source == "__future__" else 1 if python else 2
        sections[place].append(line + ", ".join(sorted(listed)))
    return "\n\n".join("\n".join(lines) for lines in sections.values() if lines)


def _is_from(node: Import) -> bool:
    return isinstance(node, ast.ImportFrom)


def _check_names(imports: str, codes: list[str]) -> None:
    """Raise ValueError if a name at the top level of one file is another's too."""
    aliases = [alias for node in ast.parse(imports).body for alias in node.names]
    names = [alias.asname or alias.name for alias in aliases]
    for code in codes:
        symbols = symtable.symtable(code, "", "exec").get_symbols()
        names += [symbol.get_name() for symbol in symbols if symbol.is_assigned()]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"defined twice: {', '.join(twice)}")
