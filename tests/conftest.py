"""Fixtures with a real Samba and a real mount.

A test that takes ``samba`` or a variant of it is marked ``samba``, one that takes ``mount`` is
marked ``mount``, one that takes ``drop_caches`` is marked ``alone``: nothing to remember. The
fixtures fail, and never skip, where smbd or /dev/fuse is missing. When the session ends, anything
it left behind is an error.

Under pytest-xdist each worker is a session of its own: its folder, its servers on ports that the
kernel gave it, its mark in the environment of what it starts. Workers share nothing but the
machine, which is why some tests are marked ``alone``.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.lab.server.smbd import scratch_directory
from tests.support.leaks import MARK, leaked
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy

SAMBA_VARIANTS: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "signing": {"server signing": "mandatory"},
    "encryption": {"smb encrypt": "required"},
    "no-leases": {"smb2 leases": "no", "oplocks": "no"},
    "128-credits": {"smb2 max credits": "128"},
}
_SAMBA_FIXTURES = {"samba", "samba_factory", "any_samba"}


def pytest_configure() -> None:
    """A shell's background job is born ignoring Ctrl-C, and under nohup hang-ups, and so would be
    everything it starts: the tests of these signals would wait for nothing.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGQUIT, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they take, directly or through others."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if names & _SAMBA_FIXTURES:
            item.add_marker("samba")
        if "mount" in names:
            item.add_marker("mount")
        if "drop_caches" in names:
            item.add_marker("alone")


@pytest.fixture(scope="session")
def session_folder() -> Iterator[Path]:
    """A folder on a real disk for everything of this session; empties itself."""
    folder = Path(tempfile.mkdtemp(prefix="netfsfuse-tests-", dir=scratch_directory())).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _no_leaks(session_folder: Path) -> Iterator[None]:
    """Fail loudly when the session leaves a process or a mount behind.

    Made before every other session fixture but the folder, and so torn down after them.
    """
    mark = os.environ[MARK] = uuid.uuid4().hex
    yield
    left = leaked(mark, session_folder)
    assert not left, "left behind by this session:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def samba(session_folder: Path) -> Iterator[PrivateSamba]:
    """One plain server for the whole session. Do not stop, restart or reconfigure it."""
    with PrivateSamba(base=session_folder) as server:
        yield server


@pytest.fixture
def samba_factory(session_folder: Path) -> Iterator[Callable[..., PrivateSamba]]:
    """Make started servers of one's own, with :class:`PrivateSamba`'s arguments."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(
            PrivateSamba(*args, base=session_folder, **kwargs)
        )


@pytest.fixture(scope="session", params=SAMBA_VARIANTS)
def any_samba(request: pytest.FixtureRequest, session_folder: Path) -> Iterator[PrivateSamba]:
    """A test that takes this runs once on each variant of the server."""
    with PrivateSamba(SAMBA_VARIANTS[request.param], base=session_folder) as server:
        yield server


@pytest.fixture
def mount(session_folder: Path) -> Iterator[Callable[..., Mounted]]:
    """``mount(samba, "sign", source=..., cachedir=...)``: mount by the real command.

    ``now=False`` only prepares the folders. Whatever happens, all is unmounted at the end.
    """
    os.close(os.open("/dev/fuse", os.O_RDWR))  # fails with the reason where it cannot be used
    with ExitStack() as stack:

        def make(server: PrivateSamba, *options: str, now: bool = True, **more: object) -> Mounted:
            folder = Path(tempfile.mkdtemp(prefix="mount-", dir=session_folder))
            mounted = Mounted(folder, server, options, **more)  # type: ignore[arg-type]
            stack.callback(mounted.remove)
            if now:
                mounted.mount()
            return mounted

        yield make


@pytest.fixture
def proxy() -> Iterator[Callable[..., PrivateProxy]]:
    """``proxy(target_port, delay=0.0)``: a :class:`PrivateProxy` that ends with the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(PrivateProxy(*args, **kwargs))


@pytest.fixture
def drop_caches() -> Callable[[], None]:
    """Forget the whole machine's clean pages, inodes and names, those of other workers' mounts
    too: the test is marked ``alone``. Only root can."""

    def drop() -> None:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")

    return drop
