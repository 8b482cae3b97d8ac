"""``netfsfuse cache`` is ``python -m cachefiles`` with our names and our default directory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cachefiles import Cache
from netfsfuse.fscache.cookie import coherency_bytes
from netfsfuse.types import FileAttr

ATTR = FileAttr(
    file_id=0x17,
    creation=1_655_526_400_000_000_000,
    access=9,
    write=1_655_526_400_000_000_000,
    change=1_655_526_400_000_000_000,
    size=5,
    allocation=0,
    flags=0,
)


@pytest.fixture
def environment(tmp_path):
    directory = tmp_path / "xdg/netfsfuse"
    cache = Cache.bind(directory)
    file, _ = cache.volume(b"//nas:445/films").open(
        b"id:17", 5, coherency_bytes(ATTR), label=b"new/film"
    )
    assert file.write(0, memoryview(b"hello"))
    file.close()
    cache.close()
    return directory


def run(*words):
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def show(environment, name):
    return run("netfsfuse", "cache", "--cachedir", os.fspath(environment), "show", name)


def test_it_is_the_same_command(environment):
    ours = run("netfsfuse", "cache", "--cachedir", os.fspath(environment), "list")
    theirs = run("cachefiles", "--cachedir", os.fspath(environment), "list")
    assert ours.returncode == theirs.returncode == 0, ours.stderr
    assert ours.stdout == theirs.stdout
    assert "//nas:445/films/new/film" in ours.stdout


def test_coherency_is_told_in_our_words(environment):
    said = show(environment, "new/film")
    assert "coherency   file_id 0x17\n" in said.stdout, said.stderr
    assert "write 2022-06-1" in said.stdout


@pytest.mark.parametrize("share", ["//nas:445/films", "//nas/films"])
def test_a_share_on_the_default_port_is_called_without_it_as_well(environment, share):
    assert "path        new/film\n" in show(environment, f"{share}/new/film").stdout


def test_and_one_on_another_port_is_not(environment):
    cache = Cache.bind(environment)
    file, _ = cache.volume(b"//nas:446/films").open(b"id:18", 5, b"c", label=b"other/film")
    assert file.write(0, memoryview(b"hello"))
    file.close()
    cache.close()
    assert "path        other/film\n" in show(environment, "//nas:446/films/other/film").stdout
    said = show(environment, "//nas/films/other/film")
    assert (said.returncode, said.stdout) == (1, "")


def test_errors_are_ours(environment):
    said = run("netfsfuse", "cache", "--cachedir", os.fspath(environment), "show", "old/film")
    assert (said.returncode, said.stderr) == (
        1,
        "netfsfuse: nothing in the cache is called old/film\n",
    )
    assert run("netfsfuse", "cache").returncode == 2
