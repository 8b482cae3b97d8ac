"""``netfsfuse bench``: what its arguments mean, and errors in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netfsfuse.cli import bench
from netfsfuse.cli.main import main
from netfsfuse.lab.bench import run
from netfsfuse.lab.bench.request import Request
from netfsfuse.lab.bench.rows import ROWS
from tests.cli.command import SECRET, Command, line_of

MIB = 1024 * 1024


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests made, of a bench that measures nothing."""
    requests: list[Request] = []

    def note(request: Request) -> int:
        requests.append(request)
        return 7

    monkeypatch.setattr(run, "run_bench", note)
    return requests


def exit_status(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_without_a_source(asked: list[Request]) -> None:
    words = ["--row", "cold", "--row", "warm", "--size", "64M", "--rounds", "2", "--quick"]
    words += ["--json", "a", "--plot", "b", "--directory", "c", "-o", "max_channels=2,nofsc"]
    assert exit_status(*words) == 7
    assert asked == [
        Request(
            rows=("cold", "warm"),
            size=64 * MIB,
            rounds=2,
            quick=True,
            json=Path("a"),
            plot=Path("b"),
            directory=Path("c"),
            options=("max_channels=2", "nofsc"),
        )
    ]


def test_rounds() -> None:
    assert Request().wanted_rounds == 5
    assert Request(quick=True).wanted_rounds == 1
    assert Request(quick=True, rounds=3).wanted_rounds == 3


def test_a_share_with_its_login(asked: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWD", SECRET)
    assert exit_status("//nas:1445/films/a/b.mkv", "-o", "user=DOM/alice,seal") == 7
    target = asked[0].target
    assert target is not None
    assert asked[0].file == "a/b.mkv"
    assert (target.host, target.port, target.share) == ("nas", 1445, "films")
    assert (target.domain, target.username, target.password) == ("DOM", "alice", SECRET)
    assert target.options == ("seal",)
    assert SECRET not in repr(asked)


def test_port_and_address_as_options(asked: list[Request]) -> None:
    assert exit_status("//nas/films", "--file", "x", "-o", "guest,port=4450,ip=10.0.0.1") == 7
    target = asked[0].target
    assert target is not None
    assert (target.host, target.port, asked[0].file) == ("10.0.0.1", 4450, "x")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--row", "colder"], "no row is named 'colder'"),
        (["--size", "3"], "whole MiB from 1M to 64G"),
        (["--size", "1.5G"], "is not a size"),
        (["--size", "65G"], "whole MiB from 1M to 64G"),
        (["--rounds", "0"], "1<=x<=99"),
        (["--file", "x"], "give the share as well"),
        (["//nas/films/a", "--file", "b", "-o", "guest"], "leave out --file"),
        (["//nas"], "names no share"),
        (["-o", "rsize=0"], "rsize=0"),
    ],
)
def test_wrong_usage_is_one_line(cli: Command, words: list[str], complaint: str) -> None:
    result = cli.run("bench", *words)
    assert result.returncode == 2
    assert complaint in line_of(result)


def test_a_result_that_cannot_be_written_is_told_at_once(cli: Command) -> None:
    result = cli.run("bench", "--json", "no/such/folder/file")
    assert result.returncode == 1
    assert "no/such/folder/file: No such file or directory" in line_of(result)


def test_no_password(cli: Command) -> None:
    result = cli.run("bench", "//nas/films", "-o", "user=alice")
    assert result.returncode == 1
    assert "no password for alice" in line_of(result)


def test_the_list_names_every_row(cli: Command) -> None:
    result = cli.run("bench", "--list")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(ROWS)


def test_no_terminal_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:
        monkeypatch.setattr("sys.stdin", null)
        assert bench._ask_password("Password: ") is None
