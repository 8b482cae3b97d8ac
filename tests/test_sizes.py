"""Files, functions and constructors stay small enough to be read at one sitting.

What is larger stands in ``EXCEPTIONS`` with its reason; one that is no longer larger fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FILE_LINES = 350
FUNCTION_LINES = 60  # a page; decorators are not counted, the docstring is
CONSTRUCTOR_PARAMETERS = 7  # self not counted

EXCEPTIONS: dict[str, str] = {}
"""A file, or a function as ``file:Class.function`` -> why it is larger for now."""


def functions(
    node: ast.AST, outer: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function in ``node`` with its dotted name, nested ones too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield outer + child.name, child
            yield from functions(child, f"{outer}{child.name}.")
        elif isinstance(child, ast.ClassDef):
            yield from functions(child, f"{outer}{child.name}.")
        else:
            yield from functions(child, outer)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many a caller of the constructor may give; ``*rest`` and ``**rest`` are one each."""
    given = function.args
    plain = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
    return plain - 1 + bool(given.vararg) + bool(given.kwarg)


def too_large(path: str, source: str) -> dict[str, str]:
    """What of the file ``path`` is over a limit: name as in ``EXCEPTIONS`` -> how large."""
    found = {}
    lines = len(source.splitlines())
    if lines > FILE_LINES:
        found[path] = f"{lines} lines, at most {FILE_LINES}"
    for name, function in functions(ast.parse(source)):
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > FUNCTION_LINES:
            found[f"{path}:{name}"] = f"{lines} lines, at most {FUNCTION_LINES}"
        if function.name == "__init__" and parameters(function) > CONSTRUCTOR_PARAMETERS:
            found[f"{path}:{name}"] = (
                f"{parameters(function)} parameters, at most {CONSTRUCTOR_PARAMETERS}"
            )
    return found


def over_limits() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in ("netfsfuse", "cachefiles"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found |= too_large(str(path.relative_to(ROOT)), path.read_text())
    return found


def test_nothing_is_too_large():
    over = over_limits()
    assert {name: size for name, size in over.items() if name not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed():
    assert set(EXCEPTIONS) - set(over_limits()) == set(), "delete these exceptions"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = 1\n" * 350, []),
        ("x = 1\n" * 351, ["f.py"]),
        ("def f():\n" + "    x = 1\n" * 59, []),
        ("def f():\n" + "    x = 1\n" * 60, ["f.py:f"]),
        ("@d\n" * 5 + "async def f():\n" + "    x = 1\n" * 59, []),
        ("class C:\n    async def f(self):\n" + "        x = 1\n" * 60, ["f.py:C.f"]),
        ("if x:\n    def f():\n" + "        x = 1\n" * 60, ["f.py:f"]),
        ("class C:\n    def __init__(self, a, b, c, d, *, e, f, g): ...", []),
        ("class C:\n    def __init__(self, a, b, c, d, *, e, f, g, h): ...", ["f.py:C.__init__"]),
        ("class C:\n    def __init__(self, a, b, c, d, e, f, *g, **h): ...", ["f.py:C.__init__"]),
        ("class C:\n    def other(self, a, b, c, d, e, f, g, h): ...", []),
    ],
)
def test_what_is_over_a_limit_is_found(source, found):
    assert list(too_large("f.py", source)) == found
