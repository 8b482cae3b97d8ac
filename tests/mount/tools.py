"""Programs that write as users run them, each with a check of what they left on the server's disk.

Each takes a folder on a mount (``here``), the same one on the server's disk (``there``), and one on
a local disk (``scratch``) where the same is made first, or is compared. ``scale`` is 1 in the suite
and more in a long run. Raises AssertionError with what a program said.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sqlite3
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from tests.mount.reading import MIB

_SECONDS = 300.0
_ODD = 12_345
"""Bytes over a whole number of blocks."""


def run(*words: str | Path, cwd: Path | None = None, status: int = 0) -> str:
    """What a program said; AssertionError unless it ends with ``status``."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, "LC_ALL": "C", "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, f"{' '.join(map(str, words))}: {done.returncode}\n{said}"
    return said


def make_file(path: Path, size: int, seed: int = 1) -> Path:
    """A file of random bytes with a hole in it."""
    path.write_bytes(Random(seed).randbytes(size))
    with path.open("r+b") as file:
        file.seek(size // 3 // 4096 * 4096)
        file.write(bytes(min(size // 4, 256 * 1024)))
    return path


def make_tree(folder: Path, files: int) -> Path:
    """Small files in a few folders, an empty one, one of 1 MiB; modes and times as on a disk."""
    random = Random(7)
    for number in range(files):
        place = folder / f"d{number % 5}" / f"e{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"file {number}").write_bytes(random.randbytes(random.choice((0, 10, 4096, 9000))))
    (folder / "large").write_bytes(random.randbytes(MIB + _ODD))
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (1_600_000_000, 1_600_000_000 + random.randrange(10**6)))
    return folder


def same(one: Path, other: Path) -> None:
    """The same names and bytes in two folders or files."""
    run("diff", "-r", one, other) if one.is_dir() else run("cmp", one, other)


def cp(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """A file, the same again over it, a shorter one over it, and a tree."""
    for seed, size in ((1, 3 * MIB * scale + _ODD), (2, 3 * MIB * scale + _ODD), (3, 70_001)):
        source = make_file(scratch / "source", size, seed)
        run("cp", source, here / "copy")
        same(source, there / "copy")
        same(source, here / "copy")
    tree = make_tree(scratch / "tree", 30 * scale)
    run("cp", "-r", tree, here / "tree")
    same(tree, there / "tree")
    run("cp", here / "copy", here / "second")
    same(there / "copy", there / "second")


_DD: Mapping[str, Sequence[str]] = {
    "plain": (),
    "fsync": ("conv=fsync",),
    "notrunc": ("conv=notrunc", "seek=3"),
    "sparse": ("conv=sparse",),
    "nocreat": ("conv=nocreat",),
    "direct": ("oflag=direct", "conv=notrunc"),
    "append": ("oflag=append", "conv=notrunc"),
    "sync": ("oflag=sync",),
    "dsync": ("oflag=dsync", "conv=notrunc"),
    "nonblock": ("oflag=nonblock",),
    "direct, append": ("oflag=direct,append", "conv=notrunc"),
    "seek over the end": ("seek=40", "conv=notrunc,fdatasync"),
}


def dd(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """With every flag, over what the one before left; a local file goes through the same."""
    source = make_file(scratch / "source", 256 * 1024 * scale)
    local = scratch / "target"
    for flags in _DD.values():
        for block in ("4k", "64k"):
            if "nocreat" in str(flags) or not local.exists():
                local.touch()
                (here / "target").touch()
            words = ("dd", f"if={source}", f"bs={block}", "status=none", *flags)
            run(*words, f"of={local}")
            run(*words, f"of={here / 'target'}")
            same(local, there / "target")
        same(local, here / "target")
    run("dd", f"if={source}", f"of={here / 'target'}", "conv=excl", "status=none", status=1)
    run("dd", f"if={source}", f"of={here / 'absent'}", "conv=nocreat", "status=none", status=1)
    run("dd", f"if={source}", f"of={here / 'fresh'}", "conv=excl", "bs=1000", "status=none")
    same(source, there / "fresh")
    same(local, there / "target")


def rsync(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """There and back; once more has nothing to do; a change in the middle, in place and not."""
    tree = make_tree(scratch / "tree", 30 * scale)
    run("rsync", "-a", "--checksum", f"{tree}/", here / "tree")
    same(tree, there / "tree")
    said = run("rsync", "-a", "--itemize-changes", f"{tree}/", here / "tree")
    assert said == "", said
    run("rsync", "-a", "--checksum", f"{here / 'tree'}/", scratch / "back")
    same(tree, scratch / "back")
    for more in ("--inplace", "--no-whole-file"):
        with (tree / "large").open("r+b") as file:
            file.seek(500_000)
            file.write(more.encode() * 100)
        run("rsync", "-a", "--checksum", more, f"{tree}/", here / "tree")
        same(tree, there / "tree")
    for path in (tree / "large", *tree.glob("d0/e0/*")):
        seen = (there / "tree" / path.relative_to(tree)).stat().st_mtime_ns
        assert abs(seen - path.stat().st_mtime_ns) < 100, path


def tar(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """Unpacked, and compared by tar itself, times included; packed from the mount."""
    tree = make_tree(scratch / "tree", 60 * scale)
    run("tar", "cf", scratch / "archive", "-C", tree, ".")
    (here / "tree").mkdir()
    run("tar", "xf", scratch / "archive", "-C", here / "tree")
    same(tree, there / "tree")
    run("tar", "df", scratch / "archive", "-C", here / "tree")
    run("tar", "cf", here / "archive", "-C", here / "tree", ".")
    run("tar", "df", there / "archive", "-C", tree)


def git(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """A clone, its fsck, a commit in it, and what is pushed from it."""
    words = ("git", "-c", "user.name=n", "-c", "user.email=e@e", "-c", "safe.directory=*")
    words += ("-c", "init.defaultBranch=main", "-c", "gc.auto=0", "-c", "core.fileMode=false")
    origin = make_tree(scratch / "origin", 40 * scale)
    run(*words, "init", "-q", cwd=origin)
    run(*words, "config", "receive.denyCurrentBranch", "ignore", cwd=origin)
    for number in range(2):
        (origin / "large").write_bytes(Random(number).randbytes(300_000))
        run(*words, "add", ".", cwd=origin)
        run(*words, "commit", "-qm", f"commit {number}", cwd=origin)
    run(*words, "clone", "-q", origin, here / "clone")
    run(*words, "fsck", "--full", "--strict", cwd=here / "clone")
    assert run(*words, "status", "--porcelain", cwd=here / "clone") == ""
    same(origin / "d1", there / "clone" / "d1")
    (here / "clone" / "new").write_bytes(b"x" * 5000)
    run(*words, "mv", "large", "larger", cwd=here / "clone")
    run(*words, "add", ".", cwd=here / "clone")
    run(*words, "commit", "-qm", "from the mount", cwd=here / "clone")
    run(*words, "gc", "-q", cwd=here / "clone")
    run(*words, "push", "-q", "origin", "HEAD:pushed", cwd=here / "clone")
    run(*words, "fsck", "--full", "--strict", cwd=there / "clone")
    run(*words, "fsck", "--full", cwd=origin)


def sqlite(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """Two journals that are files beside it; a second connection reads meanwhile."""
    for journal in ("DELETE", "TRUNCATE"):
        name = f"{journal}.db"
        with closing(sqlite3.connect(here / name)) as writer:
            assert writer.execute(f"PRAGMA journal_mode={journal}").fetchone()[0] == journal.lower()
            writer.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, body BLOB)")
            rows = 0
            for number in range(8 * scale):
                with writer:
                    body = Random(number).randbytes(3000)
                    writer.executemany("INSERT INTO t (body) VALUES (?)", [(body,)] * 20)
                rows += 20
                with writer:
                    writer.execute(
                        "UPDATE t SET body = ? WHERE n % 7 = ?", (body[:100], number % 7)
                    )
                writer.execute("DELETE FROM t")
                writer.rollback()
                with closing(sqlite3.connect(here / name)) as reader:
                    assert reader.execute("SELECT count(*) FROM t").fetchone() == (rows,)
            assert writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with closing(sqlite3.connect(there / name)) as reader:
            assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (rows,)


_MAPPER = """
import mmap, os, random, sys
name, part, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(part)
with open(name, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
    for _ in range(60):
        start = part * size + draw.randrange(size - 5000)
        view[start : start + 5000] = draw.randbytes(5000)
    if part % 2:
        view.flush()
"""


def mappers(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """Four processes, each with its quarter of one file mapped; two of them never sync."""
    size = 256 * 1024 * scale + _ODD
    for folder in (here, scratch):
        (folder / "mapped").write_bytes(bytes(4 * size))
        script = scratch / "mapper.py"
        script.write_text(_MAPPER)
        words = ["python3", str(script), str(folder / "mapped")]
        running = [subprocess.Popen([*words, str(part), str(size)]) for part in range(4)]
        assert [process.wait(_SECONDS) for process in running] == [0, 0, 0, 0]
    same(scratch / "mapped", here / "mapped")
    with (here / "mapped").open("r+b") as file:
        os.fsync(file.fileno())
    same(scratch / "mapped", there / "mapped")
    with (here / "mapped").open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        digest = hashlib.sha256(view).hexdigest()
    assert digest == hashlib.sha256((there / "mapped").read_bytes()).hexdigest()


def fio(here: Path, there: Path, scratch: Path, scale: int) -> None:
    """Four jobs, a file each, and its checksums: in order, at random, buffered and direct."""
    for rw, direct in (("write", 0), ("randwrite", 0), ("randwrite", 1), ("randrw", 0)):
        words = ["fio", "--name=writing", f"--directory={here}", f"--size={2 * scale}m"]
        words += ["--numjobs=4", "--bsrange=4k-64k", f"--rw={rw}", f"--direct={direct}"]
        words += ["--ioengine=psync", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1"]
        words += ["--end_fsync=1", "--bs_unaligned=0", "--minimal", f"--aux-path={scratch}"]
        run(*words, cwd=scratch)
        for path in here.iterdir():
            same(path, there / path.name)


TOOLS: Mapping[str, Callable[[Path, Path, Path, int], None]] = {
    "cp": cp,
    "dd": dd,
    "rsync": rsync,
    "tar": tar,
    "git": git,
    "sqlite": sqlite,
    "mappers": mappers,
    "fio": fio,
}
