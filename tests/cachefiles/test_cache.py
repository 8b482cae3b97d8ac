"""Binding a directory: whose it is, what is in it, who has it, what its filesystem can do."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cachefiles import Cache, CacheBusy, CacheUnusable, Faults
from tests.cachefiles.conftest import SIZE, content_of, read_all

CONTENT = content_of(SIZE)


def store(cache, key=b"k"):
    file, _ = cache.volume(b"v").open(key, SIZE, b"c")
    assert file.write(0, CONTENT)
    file.close()


def kept(cache, key=b"k"):
    file, _ = cache.volume(b"v").open(key, SIZE, b"c")
    found = read_all(file)
    file.close()
    return found == CONTENT


def test_it_is_made_private_and_kept(cachedir):
    old = os.umask(0)
    try:
        cache = Cache.bind(cachedir / "deeper")
        store(cache)
        cache.close()
        cache.close()
    finally:
        os.umask(old)
    for path in [cachedir / "deeper", *(cachedir / "deeper").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert (cachedir / "deeper/version").read_bytes() == b"cachefiles 2\n"
    cache = Cache.bind(cachedir / "deeper")
    assert kept(cache)
    assert cache.set_aside is None
    cache.close()


def test_an_empty_directory_of_ours_becomes_private(tmp_path):
    tmp_path.chmod(0o755)
    Cache.bind(tmp_path).close()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(CacheUnusable, match="others can write"):
        Cache.bind(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_somebody_else_is_refused(tmp_path):
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
        theirs = tmp_path
    else:
        theirs = Path("/usr")
    with pytest.raises(CacheUnusable, match="belongs to user"):
        Cache.bind(theirs)


def test_somebodys_home_is_left_alone(tmp_path):
    (tmp_path / "letter").write_text("dear")
    tmp_path.chmod(0o755)
    with pytest.raises(CacheUnusable, match="holds other files"):
        Cache.bind(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheUnusable, match="Not a directory"):
        Cache.bind(tmp_path / "file")
    with pytest.raises(CacheUnusable, match="Not a directory"):
        Cache.bind(tmp_path / "file/below")


def test_many_at_once(cachedir):
    """In this process and in another one: what one stores, all find."""
    ours, theirs = Cache.bind(cachedir), Cache.bind(cachedir)
    store(ours)
    assert kept(theirs)
    script = (
        "import sys, pathlib, cachefiles\n"
        "from tests.cachefiles.test_cache import kept, store\n"
        "cache = cachefiles.Cache.bind(pathlib.Path(sys.argv[1]))\n"
        "assert kept(cache)\n"
        "store(cache, b'other')\n"
        "cache.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, os.fspath(cachedir)], check=True)
    assert kept(ours, b"other")
    ours.close()
    assert kept(theirs)
    theirs.close()


def test_a_process_of_another_format_is_left_alone(cachedir):
    """One that is older than sharing has the directory for itself; a newer one its own format."""
    cache = Cache.bind(cachedir)
    (cachedir / "version").write_bytes(b"cachefiles 3\n")
    with pytest.raises(CacheBusy, match="another version"):
        Cache.bind(cachedir)
    cache.close()
    assert not list(cachedir.glob("volumes.*"))


def test_the_lock_is_not_inherited_by_programs_we_run(cachedir):
    cache = Cache.bind(cachedir)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        cache.close()
        Cache.bind(cachedir).close()
        child.communicate()


@pytest.mark.parametrize(
    ("version", "label"),
    [(b"cachefiles 1\n", "1"), (b"cachefiles ../x\n", "___x"), (b"\0\xff", "_"), (b"", "unknown")],
)
def test_another_version_is_set_aside_not_read_and_not_removed(cachedir, version, label):
    cache = Cache.bind(cachedir)
    store(cache)
    cache.close()
    for number in (1, 2):
        (cachedir / "version").write_bytes(version)
        cache = Cache.bind(cachedir)
        assert cache.set_aside is not None
        name = cache.set_aside.name
        assert name.startswith("volumes.")
        if version.startswith(b"cachefiles"):
            assert name == f"volumes.{label}" + (".2" if number == 2 else "")
        assert not kept(cache)
        store(cache)
        assert len(list(cache.set_aside.glob("*/*/*"))) == 2
        cache.close()
    cache = Cache.bind(cachedir)
    assert kept(cache)
    cache.close()


def test_a_lost_version_file_is_another_version(cachedir):
    cache = Cache.bind(cachedir)
    store(cache)
    cache.close()
    (cachedir / "version").unlink()
    cache = Cache.bind(cachedir)
    assert cache.set_aside == cachedir / "volumes.unknown"
    assert not kept(cache)
    cache.close()


def test_what_a_crash_in_bind_leaves_is_no_obstacle(cachedir):
    cachedir.mkdir(mode=0o700)
    (cachedir / "probe").write_bytes(b"x")
    (cachedir / "version.new").write_bytes(b"x")
    (cachedir / "lock").write_bytes(b"")
    cache = Cache.bind(cachedir)
    store(cache)
    assert kept(cache)
    cache.close()
    ours = {"graveyard", "lock", "space", "version", "volumes"}
    assert {path.name for path in cachedir.iterdir()} == ours


@pytest.mark.parametrize("call", ["setxattr", "getxattr"])
def test_no_extended_attributes(tmp_path, call):
    faults = Faults()
    faults.fail_always(call, errno.EOPNOTSUPP)
    with pytest.raises(CacheUnusable, match="no extended attributes"):
        Cache.bind(tmp_path / "cache", faults)


@pytest.mark.parametrize("nonsense", [False, True])
def test_no_holes(tmp_path, monkeypatch, nonsense):
    """A filesystem that calls all of a file data, as the kernel does for those that cannot say."""

    def lseek(fd, offset, whence):
        return offset if whence == os.SEEK_DATA or nonsense else 64 << 20

    monkeypatch.setattr(os, "lseek", lseek)
    with pytest.raises(CacheUnusable, match="does not report holes"):
        Cache.bind(tmp_path / "cache")


@pytest.mark.parametrize("call", ["open", "create", "mkdir", "flock", "unlink"])
def test_a_filesystem_that_became_read_only(tmp_path, call):
    faults = Faults()
    faults.fail_always(call, errno.EROFS)
    with pytest.raises(CacheUnusable, match="Read-only file system"):
        Cache.bind(tmp_path / "cache", faults)


def test_a_directory_without_write_permission():
    """As an ordinary user, whom permissions stop; root becomes one for this test."""
    base = Path(tempfile.mkdtemp(dir="/tmp"))
    base.chmod(0o755)
    denied = base / "cache"
    denied.mkdir(mode=0o500)
    user = os.geteuid()
    if user == 0:
        os.chown(denied, 65534, 65534)
        os.seteuid(65534)
    try:
        with pytest.raises(CacheUnusable, match="Permission denied"):
            Cache.bind(denied)
        with pytest.raises(CacheUnusable, match="Permission denied"):
            Cache.bind(denied / "below")
    finally:
        os.seteuid(user)
        shutil.rmtree(base)


def fill_up(small):
    """In a mount namespace of its own: what is stored stays readable, binding too."""
    options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "none", os.fspath(small)]
    subprocess.run(["mount", *options], check=True)
    cache = Cache.bind(small)
    store(cache)
    with (small / "volumes/filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    break
                raise
    file, _ = cache.volume(b"v").open(b"other", SIZE, b"c")
    assert not file.write(0, CONTENT)
    assert cache.space.full
    file.close()
    cache.close()
    cache = Cache.bind(small)
    assert kept(cache)
    cache.close()


def test_a_really_full_filesystem(tmp_path):
    script = (
        "import pathlib, sys\n"
        "from tests.cachefiles.test_cache import fill_up\n"
        "fill_up(pathlib.Path(sys.argv[1]))\n"
    )
    namespace = ["unshare", "--mount"]
    if os.geteuid() != 0:
        namespace += ["--user", "--map-root-user"]
    subprocess.run([*namespace, sys.executable, "-c", script, os.fspath(tmp_path)], check=True)


def test_full_before_anything_was_stored(tmp_path):
    faults = Faults()
    faults.fail_always("pwritev", errno.ENOSPC)
    with pytest.raises(CacheUnusable, match="No space left"):
        Cache.bind(tmp_path / "cache", faults)


def test_full_when_bound_again(tmp_path):
    cache = Cache.bind(tmp_path / "cache")
    store(cache)
    cache.close()
    faults = Faults()
    faults.fail_always("pwritev", errno.ENOSPC)
    cache = Cache.bind(tmp_path / "cache", faults)
    assert kept(cache)
    cache.close()


def test_a_failed_bind_gives_the_lock_back(tmp_path):
    faults = Faults()
    faults.fail_always("setxattr", errno.EOPNOTSUPP)
    with pytest.raises(CacheUnusable):
        Cache.bind(tmp_path / "cache", faults)
    with (tmp_path / "cache/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
