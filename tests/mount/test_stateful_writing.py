"""Random programs that write on two mounts, and the server's own users beside them, by Hypothesis.

The model is what ``docs/semantics.md`` says: a program's own changes are there at once on its
mount; when a handle is closed or synced the server has the data; what one mount did the other one
sees, also what is not synced yet; what the server's own users do is seen within a second. Files
that programs hold open are not moved or removed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.reading import MIB
from tests.support.exercise_model import Differs, ModelFile, check, check_bytes
from tests.support.mounted import Mounted

Mount = Callable[..., Mounted]

PROMISED = 1.0
MARGIN = 0.3
"""Seconds more, for a machine that is busy."""
FOLDER = "d"
PATHS = st.sampled_from(["a", "b", "d/a", "d/b"])
MOUNTS = st.integers(0, 1)
SIZES = st.one_of(st.sampled_from([0, 1, 4096, 65536, MIB]), st.integers(0, 300_000))
STARTS = st.one_of(st.sampled_from([0, 4095, 65536]), st.integers(0, 400_000))
LENGTHS = st.sampled_from([1, 100, 4096, 70_000, 262_144])
FLAGS = st.sampled_from(
    [
        os.O_WRONLY,
        os.O_RDWR,
        os.O_RDONLY,
        os.O_WRONLY | os.O_APPEND,
        os.O_RDWR | os.O_APPEND,
        os.O_RDWR | os.O_SYNC,
    ]
)


@dataclass
class Handle:
    """One that a program on mount ``mount`` keeps open."""

    fd: int
    path: str
    mount: int
    flags: int

    @property
    def writes(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def reads(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_WRONLY


class Writers(RuleBasedStateMachine):
    """See the module. ``there`` is one folder on the server's disk, ``mounts`` it on each mount."""

    counter = 0

    def __init__(self, there: Path, mounts: list[Path]) -> None:
        super().__init__()
        Writers.counter += 1
        self.there = there / str(self.counter)
        self.mounts = [mount / str(self.counter) for mount in mounts]
        self.there.mkdir()
        self.files: dict[str, ModelFile] = {}
        self.has_folder = False
        self.held: list[Handle] = []
        self.version = 0

    # What must be true

    def piece(self, length: int) -> bytes:
        """Bytes that tell which change they are of; none is zero."""
        self.version += 1
        line = b"change %07d " % self.version
        return (line * (length // len(line) + 1))[:length]

    def soon(self, condition: Callable[[], None]) -> None:
        """``condition`` raises nothing any more, within what is promised."""
        end = time.monotonic() + PROMISED + MARGIN
        while True:
            try:
                condition()
            except (Differs, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return

    def exists(self, path: str) -> bool:
        return path in self.files or (path == FOLDER and self.has_folder)

    def is_possible(self, path: str) -> bool:
        """Whether the folder that it would be in is there."""
        return "/" not in path or self.has_folder

    def known(self, mount: int, *paths: str) -> None:
        """Wait until the mount shows names as they are: they may have been changed elsewhere."""

        def shows() -> None:
            for path in paths:
                check(
                    f"{path} exists", os.path.lexists(self.mounts[mount] / path), self.exists(path)
                )

        self.soon(shows)

    def is_held(self, path: str) -> bool:
        return any(handle.path == path for handle in self.held)

    def check_there(self, path: str) -> None:
        check_bytes(f"{path} there", 0, (self.there / path).read_bytes(), self.files[path].content)

    @invariant()
    def same_names_there(self) -> None:
        """Soon: a folder that another mount watches goes when that has let go of it."""

        def shows() -> None:
            names = {str(path.relative_to(self.there)) for path in self.there.rglob("*")}
            check("names there", names, {*self.files, *([FOLDER] if self.has_folder else [])})

        self.soon(shows)

    # Programs

    @rule(mount=MOUNTS, path=PATHS, size=SIZES)
    def save(self, mount: int, path: str, size: int) -> None:
        """As a shell's ``>``."""
        self.known(mount, path)
        here = self.mounts[mount] / path
        if not self.is_possible(path):
            with pytest.raises(FileNotFoundError):
                here.write_bytes(b"x")
            return
        content = self.piece(size)
        here.write_bytes(content)
        self.files.setdefault(path, ModelFile()).content[:] = content
        self.check_there(path)
        check("size", here.stat().st_size, size)

    @rule(mount=MOUNTS, path=PATHS)
    def create_exclusive(self, mount: int, path: str) -> None:
        """The server decides, where the kernel does not believe that it is there."""
        if not self.is_possible(path):
            return
        self.known(mount, path)
        try:
            os.close(os.open(self.mounts[mount] / path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            check(f"{path} exists", True, path in self.files)
        else:
            check(f"{path} exists", False, path in self.files)
            self.files[path] = ModelFile()

    @precondition(lambda self: self.files)
    @rule(mount=MOUNTS, path=PATHS, start=STARTS, length=LENGTHS, append=st.booleans())
    def patch(self, mount: int, path: str, start: int, length: int, append: bool) -> None:
        """Open, write a piece, close."""
        if path not in self.files:
            return
        self.known(mount, path)
        file, piece = self.files[path], self.piece(length)
        flags = os.O_WRONLY | (os.O_APPEND if append else 0)
        fd = os.open(self.mounts[mount] / path, flags)
        try:
            check("bytes written", os.pwrite(fd, piece, start), length)
        finally:
            os.close(fd)
        file.write(len(file.content) if append else start, piece)
        self.check_there(path)

    @precondition(lambda self: self.files)
    @rule(mount=MOUNTS, path=PATHS, size=SIZES)
    def truncate(self, mount: int, path: str, size: int) -> None:
        if path in self.files:
            self.known(mount, path)
            os.truncate(self.mounts[mount] / path, size)
            self.files[path].resize(size)
            self.look(mount)

    @precondition(lambda self: self.files)
    @rule(mount=MOUNTS, path=PATHS, seconds=st.integers(10**9, 10**9 + 10**6))
    def set_times(self, mount: int, path: str, seconds: int) -> None:
        if path in self.files:
            self.known(mount, path)
            here = self.mounts[mount] / path
            os.utime(here, (seconds, seconds))
            if not self.is_held(path):
                check("mtime", here.stat().st_mtime, seconds)
                check("mtime there", (self.there / path).stat().st_mtime, seconds)

    @rule(mount=MOUNTS, path=PATHS)
    def unlink(self, mount: int, path: str) -> None:
        if self.is_held(path):
            return
        self.known(mount, path)
        if path in self.files:
            os.unlink(self.mounts[mount] / path)
            del self.files[path]
        else:
            with pytest.raises(FileNotFoundError):
                os.unlink(self.mounts[mount] / path)
        check(f"{path} exists", os.path.lexists(self.mounts[mount] / path), False)

    @rule(mount=MOUNTS, path=PATHS, to=PATHS)
    def rename(self, mount: int, path: str, to: str) -> None:
        if path not in self.files or path == to or self.is_held(path) or self.is_held(to):
            return
        self.known(mount, path, to)
        here = self.mounts[mount]
        if not self.is_possible(to):
            with pytest.raises(FileNotFoundError):
                os.rename(here / path, here / to)
            return
        os.rename(here / path, here / to)
        self.files[to] = self.files.pop(path)
        check(f"{path} exists", os.path.lexists(here / path), False)
        check_bytes(to, 0, (here / to).read_bytes(), self.files[to].content)

    @rule(mount=MOUNTS)
    def make_folder(self, mount: int) -> None:
        self.known(mount, FOLDER)
        try:
            os.mkdir(self.mounts[mount] / FOLDER)
        except FileExistsError:
            check("the folder exists", True, self.has_folder)
        else:
            check("the folder exists", False, self.has_folder)
            self.has_folder = True

    @rule(mount=MOUNTS)
    def remove_folder(self, mount: int) -> None:
        self.known(mount, FOLDER)
        number = None
        try:
            os.rmdir(self.mounts[mount] / FOLDER)
        except OSError as error:
            number = error.errno
        if not self.has_folder:
            check("errno of rmdir", number, errno.ENOENT)
        elif any(path.startswith(FOLDER) for path in self.files):
            check("errno of rmdir", number, errno.ENOTEMPTY)
        else:
            check("errno of rmdir", number, None)
            self.has_folder = False

    # Programs that keep files open

    @precondition(lambda self: self.files and len(self.held) < 5)
    @rule(mount=MOUNTS, path=PATHS, flags=FLAGS)
    def hold(self, mount: int, path: str, flags: int) -> None:
        if path in self.files:
            self.known(mount, path)
            fd = os.open(self.mounts[mount] / path, flags)
            self.held.append(Handle(fd, path, mount, flags))

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4), start=STARTS, length=LENGTHS)
    def write_held(self, which: int, start: int, length: int) -> None:
        handle = self.held[which % len(self.held)]
        if not handle.writes:
            return
        file, piece = self.files[handle.path], self.piece(length)
        check("bytes written", os.pwrite(handle.fd, piece, start), length)
        file.write(len(file.content) if handle.flags & os.O_APPEND else start, piece)
        self.soon(lambda: check("size", os.fstat(handle.fd).st_size, len(file.content)))
        if handle.flags & os.O_SYNC:
            self.check_there(handle.path)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4), start=STARTS, length=LENGTHS)
    def read_held(self, which: int, start: int, length: int) -> None:
        handle = self.held[which % len(self.held)]
        wanted = self.files[handle.path].content[start : start + length]
        if handle.reads:
            self.soon(
                lambda: check_bytes(handle.path, start, os.pread(handle.fd, length, start), wanted)
            )

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4))
    def sync_held(self, which: int) -> None:
        handle = self.held[which % len(self.held)]
        if handle.writes:
            os.fsync(handle.fd)
            if not self.writes_elsewhere(handle):
                self.check_there(handle.path)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 4))
    def close_held(self, which: int) -> None:
        handle = self.held.pop(which % len(self.held))
        os.close(handle.fd)
        if handle.writes and not self.writes_elsewhere(handle):
            self.check_there(handle.path)

    def writes_elsewhere(self, handle: Handle) -> bool:
        """Whether the other mount may have bytes of the file that it has not sent."""
        return any(
            other.path == handle.path and other.mount != handle.mount and other.writes
            for other in self.held
        )

    # Looking

    @precondition(lambda self: self.files)
    @rule(mount=MOUNTS, path=PATHS)
    def read_anew(self, mount: int, path: str) -> None:
        """Whatever anybody did before, synced or not."""
        here = self.mounts[mount] / path
        if path in self.files:
            self.soon(lambda: check_bytes(path, 0, here.read_bytes(), self.files[path].content))

    @rule(mount=MOUNTS)
    def look(self, mount: int) -> None:
        """Names and sizes."""
        here = self.mounts[mount]

        def shows() -> None:
            seen = {str(path.relative_to(here)) for path in here.rglob("*")}
            check("names", seen, {*self.files, *([FOLDER] if self.has_folder else [])})
            for path, file in self.files.items():
                check(f"size of {path}", (here / path).stat().st_size, len(file.content))

        self.soon(shows)

    # The server's own users

    @rule(
        path=PATHS,
        size=SIZES,
        how=st.sampled_from(["save", "append", "patch", "replace", "remove"]),
    )
    def change_there(self, path: str, size: int, how: str) -> None:
        """It breaks no lease, and so is done to files that nobody writes to."""
        there = self.there / path
        if (
            not self.is_possible(path)
            or self.is_held(path)
            or (how != "save" and path not in self.files)
        ):
            return
        if how == "remove":
            there.unlink()
            del self.files[path]
            return
        file, piece = self.files.setdefault(path, ModelFile()), self.piece(size)
        if how == "append":
            with there.open("ab") as target:
                target.write(piece)
        elif how == "patch":
            with there.open("r+b") as target:
                target.write(piece)
        elif how == "replace":
            there.with_name("new").write_bytes(piece)
            there.with_name("new").rename(there)
        else:
            there.write_bytes(piece)
        file.content[:] = there.read_bytes()

    def teardown(self) -> None:
        for handle in self.held:
            with suppress(OSError):
                os.close(handle.fd)


@pytest.mark.parametrize("options", ["fsc", "nolease", "cache=none"])
@pytest.mark.parametrize(
    ("examples", "steps"),
    [
        # Not in the suite yet: one run in six meets the milliseconds in which a mount has not been
        # told of another's new name (ENOENT), which the model does not allow.
        pytest.param(5, 30, marks=pytest.mark.soak),
        pytest.param(150, 60, marks=[pytest.mark.soak, pytest.mark.timeout(3000)]),
    ],
)
def test_writers_on_two_mounts(
    samba: PrivateSamba, mount: Mount, options: str, examples: int, steps: int
) -> None:
    """No wrong byte, name or size, and no error that the model does not foresee."""
    there = samba.path / f"writers-{options}-{examples}"
    there.mkdir()
    mounts = [mount(samba, options), mount(samba, "nofsc")]
    run_state_machine_as_test(
        lambda: Writers(there, [mounted.path / there.name for mounted in mounts]),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # a real server is too slow for shrinking
            suppress_health_check=list(HealthCheck),
        ),
    )
    for mounted in mounts:
        stats = mounted.stats()
        assert stats["application"]["errors"] == 0, mounted.log_text()
        assert stats["tasks"]["failed"] == 0, mounted.log_text()
