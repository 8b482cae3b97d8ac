"""The administrator's command, on a cache that others have in use."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cachefiles import BLOCK, Cache, CacheUnusable, Found
from cachefiles.limits import MIB
from tests.cachefiles.conftest import content_of

CONTENT = content_of(MIB + 500)
VOLUME = b"//server:445/share"


def run(cachedir: Path, *words: str, status: int = 0) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "cachefiles", "--cachedir", os.fspath(cachedir), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, (result.stdout, result.stderr)
    assert "Traceback" not in result.stderr
    return result.stdout + result.stderr


def open_file(cache, path: bytes, coherency=b"c"):
    return cache.volume(VOLUME).open(b"id:" + path, len(CONTENT), coherency, label=path)


@pytest.fixture
def filled(cachedir):
    """Three whole files and the first block of a fourth; bound, as by a mount."""
    cache = Cache.bind(cachedir)
    for path in (b"a", b"dir/b", b"dir/c"):
        file, _ = open_file(cache, path)
        assert file.write(0, CONTENT)
        file.close()
    part, _ = open_file(cache, b"part")
    assert part.write(0, CONTENT[:BLOCK])
    part.close()
    yield cache
    cache.close()


def rows(cachedir, *words):
    return [json.loads(line) for line in run(cachedir, "list", "--json", *words).splitlines()]


def paths(cachedir, *words):
    return [row["path"] for row in rows(cachedir, *words)]


def backing(cachedir, path):
    (row,) = [row for row in rows(cachedir) if row["path"] == path]
    return next(cachedir.glob(f"volumes/*/*/{row['object']}"))


def test_list(filled, cachedir):
    found = {row["path"]: row for row in rows(cachedir)}
    assert set(found) == {"a", "dir/b", "dir/c", "part"}
    assert {row["volume"] for row in found.values()} == {"//server:445/share"}
    assert found["a"]["size"] == len(CONTENT)
    assert MIB <= found["a"]["stored"] <= 2 * MIB
    assert BLOCK <= found["part"]["stored"] <= 2 * BLOCK
    assert found["a"]["used"].startswith("20")
    assert not found["a"]["pinned"]
    assert paths(cachedir, "--sort", "path", "--reverse") == ["part", "dir/c", "dir/b", "a"]
    assert paths(cachedir, "--sort", "stored")[0] == "part"
    assert sorted(paths(cachedir, "dir")) == ["dir/b", "dir/c"]
    assert len(run(cachedir, "list").splitlines()) == 4
    assert "//server:445/share/dir/b" in run(cachedir, "list")


def test_list_ends_quietly_when_its_reader_goes(filled, cachedir):
    command = f"{sys.executable} -m cachefiles --cachedir {cachedir} list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["part", "/part", "//server:445/share/part", "OBJECT"])
def test_show(filled, cachedir, name):
    if name == "OBJECT":
        name = backing(cachedir, "part").name[:10]
    said = run(cachedir, "show", name)
    assert "path        part\n" in said
    assert "map         #................\n" in said
    assert f"coherency   {b'c'.hex()}\n" in said
    assert "stored      64.0 KiB (6.2 %)" in said


def test_show_says_why_it_is_stale(filled, cachedir):
    os.setxattr(backing(cachedir, "a"), "user.cachefiles.object", b"torn")
    assert "its record is damaged" in run(cachedir, "show", backing(cachedir, "a").name)
    path = backing(cachedir, "dir/b")
    path.with_name(path.name + ".map").unlink()
    assert "it has no map" in run(cachedir, "show", "dir/b")


def test_verify_and_repair(filled, cachedir):
    assert "4 objects, 52 blocks: 0 bad" in run(cachedir, "verify")
    with backing(cachedir, "a").open("r+b") as raw:
        raw.seek(3 * BLOCK + 7)
        raw.write(b"\1\2\3\4\5")
    path = backing(cachedir, "dir/b")
    path.with_name(path.name + ".map").write_bytes(os.urandom(17 * 8))
    said = run(cachedir, "verify", status=1)
    assert "1 blocks wrong (3)" in said
    assert "17 blocks wrong" in said
    assert "18 bad" in said
    assert "1 objects, 17 blocks: 0 bad" in run(cachedir, "verify", "dir/c")
    os.setxattr(backing(cachedir, "part"), "user.cachefiles.object", b"torn")
    assert "19 bad, 19 repaired" in run(cachedir, "verify", "--repair")
    assert "3 objects, 33 blocks: 0 bad" in run(cachedir, "verify")
    file, found = open_file(filled, b"a")
    assert found is Found.STORED
    assert file.occupancy(0, MIB) == [(0, 3 * BLOCK), (4 * BLOCK, MIB)]
    file.close()


def test_what_is_being_changed_is_told(filled, cachedir):
    """Whether it is, or a crash has left it so: it is not wrong, and nothing of it is found."""
    changing = filled.volume(VOLUME).begin_changes(b"id:a", len(CONTENT), b"c", label=b"a")
    changing.resize(2 * len(CONTENT))
    assert changing.write(16 * BLOCK, CONTENT[:BLOCK])
    assert [row["path"] for row in rows(cachedir) if row["unfinished"]] == ["a"]
    assert [line for line in run(cachedir, "list").splitlines() if "/share/a  (unfinished)" in line]
    assert "unfinished  it is being changed" in run(cachedir, "show", "a")
    assert "0 bad, 1 objects are unfinished" in run(cachedir, "verify")
    changing.finish(b"id:a", b"c2")
    assert not [row for row in rows(cachedir) if row["unfinished"]]
    assert "unfinished" not in run(cachedir, "show", "a") + run(cachedir, "verify")
    changing.close()


def test_drop_of_what_is_in_use(filled, cachedir):
    user, _ = open_file(filled, b"a")
    assert "dropped 1 objects" in run(cachedir, "drop", "a")
    assert sorted(paths(cachedir)) == ["dir/b", "dir/c", "part"]
    assert not user.write(0, CONTENT)
    user.close()
    again, found = open_file(filled, b"a")
    assert found is Found.NOTHING
    assert again.write(0, CONTENT)
    again.close()
    assert "a" in paths(cachedir)


def test_an_object_dropped_while_it_is_open_is_opened_anew(filled, cachedir):
    """The one that is open has files without a name; who comes next gets new ones."""
    user, _ = open_file(filled, b"a")
    run(cachedir, "drop", "a")
    second, found = open_file(filled, b"a")
    assert found is not Found.STORED
    assert second is not user
    assert second.write(0, CONTENT)
    target = memoryview(bytearray(len(CONTENT)))
    assert second.read(0, target)
    assert target == CONTENT
    second.close()
    user.close()


def test_drop_folders_volumes_and_all(filled, cachedir):
    run(cachedir, "pin", "part")
    assert "dropped 2 objects" in run(cachedir, "drop", "dir/")
    said = run(cachedir, "drop", "--all")
    assert "dropped 1 objects" in said
    assert "1 pinned ones stay" in said
    assert paths(cachedir) == ["part"]
    assert "dropped 1 objects" in run(cachedir, "drop", "//server:445/share")
    assert paths(cachedir) == []


def test_pins_and_culling(filled, cachedir):
    assert "pinned 2 objects" in run(cachedir, "pin", "dir")
    assert {row["path"] for row in rows(cachedir) if row["pinned"]} == {"dir/b", "dir/c"}
    assert "pinned or in use" in run(cachedir, "cull", "--to", "0", status=1)
    assert sorted(paths(cachedir)) == ["dir/b", "dir/c"]
    assert "unpinned 1 objects" in run(cachedir, "unpin", "dir/b")
    assert "freed 1.0 MiB, 1 objects" in run(cachedir, "cull", "--to", "1500K")
    assert paths(cachedir) == ["dir/c"]
    assert "freed 0 B" in run(cachedir, "cull")


def test_stats(filled, cachedir):
    found = json.loads(run(cachedir, "stats", "--json"))
    assert found["objects"] == 4
    assert found["volumes"] == 1
    assert found["stored"] <= found["counted"] <= found["stored"] + 70 * MIB
    assert "objects" in run(cachedir, "stats")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["show", "nothing"], 1, "nothing in the cache is called nothing"),
        (["show", "dir"], 1, "dir means 2 objects"),
        (["drop"], 2, "name what to drop"),
        (["drop", "a", "--all"], 2, "name what to drop"),
        (["cull", "--to", "much"], 2, "is not a size"),
        (["pin"], 2, "Missing argument"),
        (["lst"], 2, "No such command"),
    ],
)
def test_bad_input(filled, cachedir, words, status, line):
    said = run(cachedir, *words, status=status)
    assert line in said
    assert len(said.splitlines()) == 1


def test_another_format_is_left_alone(filled, cachedir):
    (cachedir / "version").write_bytes(b"cachefiles 3\n")
    assert "another format" in run(cachedir, "list", status=1)
    assert not list(cachedir.glob("volumes.*"))
    (cachedir / "version").write_bytes(b"cachefiles 2\n")


def test_another_culler_is_waited_for(filled, cachedir):
    with (cachedir / "cull").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, "-m", "cachefiles", "--cachedir", cachedir, "cull", "--to", "0"],
            stdout=subprocess.PIPE,
            text=True,
        ) as culling:
            with pytest.raises(subprocess.TimeoutExpired):
                culling.wait(1)
            fcntl.flock(lock, fcntl.LOCK_UN)
            assert "4 objects" in culling.stdout.read()
    assert paths(cachedir) == []


def test_looking_is_no_use_and_waits_for_nobody(filled, cachedir):
    """Not even for the writer of a pipe that somebody put in the place of a file."""
    path = backing(cachedir, "a")
    os.utime(path, ns=(10**9, 10**9))
    for words in (["verify"], ["show", "a"], ["list"]):
        run(cachedir, *words)
    assert path.stat().st_atime_ns == 10**9
    path.unlink()
    os.mkfifo(path)
    assert "a pipe in place of a file" in run(cachedir, "verify", status=1)


def test_verify_goes_on_at_what_is_no_file_and_repair_removes_nothing_else(
    filled, cachedir, tmp_path
):
    letter = tmp_path / "letter"
    letter.write_text("dear")
    link, empty, full = (backing(cachedir, name) for name in ("a", "dir/b", "dir/c"))
    side = backing(cachedir, "part")
    side = side.with_name(side.name + ".map")
    for path in (link, empty, full, side):
        path.unlink()
    link.symlink_to(letter)
    side.symlink_to(letter)
    empty.mkdir()
    (full / "below").mkdir(parents=True)
    (volume,) = cachedir.glob("volumes/*")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / (32 * "e")).write_text("kept")
    (volume / "zz").symlink_to(outside)
    volume.with_name(32 * "d").symlink_to(outside)
    said = run(cachedir, "verify", status=1)
    assert said.count("a symlink in place") == 2
    assert said.count("a folder in place") == 2
    assert "no map" in said
    assert "5 bad" in said
    said = run(cachedir, "verify", "--repair", status=1)
    assert "not removed: Directory not empty" in said
    assert "5 bad, 4 repaired" in said
    assert "1 bad" in run(cachedir, "verify", status=1)
    assert letter.read_text() == "dear"
    assert (outside / (32 * "e")).read_text() == "kept"
    assert (full / "below").exists()


@pytest.mark.parametrize("kind", ["huge", "pipe", "symlink", "folder"])
def test_a_version_that_is_none(filled, cachedir, kind):
    """Neither read whole nor waited for, nor followed."""
    filled.close()
    version = cachedir / "version"
    version.rename(cachedir / "kept")
    if kind == "huge":
        version.touch()
        os.truncate(version, 10 << 30)
    elif kind == "pipe":
        os.mkfifo(version)
    elif kind == "symlink":
        version.symlink_to("kept")
    else:
        version.mkdir()
    assert "format" in (said := run(cachedir, "list", status=1)) or "holds no cache" in said
    with pytest.raises(CacheUnusable):
        Cache.bind(cachedir)
    assert (cachedir / "kept").read_bytes() == b"cachefiles 2\n"


def test_a_record_of_another_object_is_told(filled, cachedir):
    record = os.getxattr(backing(cachedir, "dir/b"), "user.cachefiles.object")
    path = backing(cachedir, "a")
    os.setxattr(path, "user.cachefiles.object", record)
    assert "record is of another object" in run(cachedir, "verify", status=1)


@pytest.mark.parametrize("known", [b"", VOLUME[:-1]])
def test_a_volume_whose_key_is_not_known_is_not_condemned(filled, cachedir, known):
    """Its attribute is for people: nothing is wrong with an object because that is lost."""
    (volume,) = cachedir.glob("volumes/*")
    os.setxattr(volume, "user.cachefiles.volume", known)
    said = run(cachedir, "verify", "--repair")
    assert "4 objects cannot be verified" in said
    assert "0 bad" in said
    file, found = open_file(filled, b"a")
    assert found is Found.STORED
    file.close()


def test_what_holds_no_cache(tmp_path):
    assert "does not exist" in run(tmp_path / "missing", "list", status=1)
    assert not (tmp_path / "missing").exists()
    assert "holds no cache" in run(tmp_path, "list", status=1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    assert "holds no cache" in run(tmp_path / "file", "list", status=1)
