"""The papers name files that are there, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PAPERS = ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/performance.md"]

_PATH = re.compile(
    r"(?<![\w./-])((?:netfsfuse|cachefiles|tests|docs|scripts)(?:/[\w.-]+)*(?:/|\.(?:py|md|fio)))"
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def paths_in(text: str) -> set[str]:
    """The paths of this repository that ``text`` names, folders with a slash at the end."""
    return set(_PATH.findall(text))


def links_in(text: str) -> set[str]:
    """Where the links of ``text`` lead within the repository, relative to its own folder."""
    return set(_LINK.findall(text))


@pytest.mark.parametrize("paper", PAPERS)
def test_every_path_is_there(paper):
    missing = [path for path in paths_in((ROOT / paper).read_text()) if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("paper", [*PAPERS, "docs/semantics.md", "CHANGELOG.md"])
def test_every_link_leads_somewhere(paper):
    here = ROOT / paper
    missing = [link for link in links_in(here.read_text()) if not (here.parent / link).exists()]
    assert missing == []


def test_the_architecture_names_its_files():
    assert len(paths_in((ROOT / "docs/architecture.md").read_text())) > 40


def test_the_first_mount_is_near_the_top():
    """One screen and a half of 40 lines."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert next(n for n, line in enumerate(lines) if "netfsfuse mount //" in line) <= 60


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`netfsfuse/vfs/ops.py`, or", {"netfsfuse/vfs/ops.py"}),
        ("in `tests/`.", {"tests/"}),
        ("the jobs in `netfsfuse/lab/bench/fio/`.", {"netfsfuse/lab/bench/fio/"}),
        ("see docs/semantics.md.", {"docs/semantics.md"}),
        ("~/.cache/netfsfuse, netfsfuse stats", set()),
        ("`.venv/bin/netfsfuse`", set()),
    ],
)
def test_paths_are_found(text, found):
    assert paths_in(text) == found


def test_links_are_found():
    assert links_in("[a](docs/a.md) [b](https://example.org) [c](x.md#y) [d](#z)") == {
        "docs/a.md",
        "x.md",
    }
