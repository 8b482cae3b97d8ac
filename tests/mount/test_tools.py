"""Tools that write, on the real server: they leave there what they leave on a local disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netfsfuse.lab.server.samba import PrivateSamba
from tests.mount.tools import TOOLS
from tests.mount.variants import VARIANTS, Setting
from tests.support.mounted import Mounted
from tests.support.proxy import PrivateProxy

SHORT = [
    ("cp", "none"),
    ("cp", "10ms"),
    ("dd", "128-credits"),
    ("rsync", "signed"),
    ("tar", "nofsc"),
    ("git", "cached"),
    ("sqlite", "nolease"),
    ("mappers", "loose"),
    ("fio", "sealed"),
]
"""Each tool, and each way in which a mount may be set up, at least once; the soak has all of them
with each other."""


MODES = ("file_mode=0644", "dir_mode=0755")
"""As files have them that are packed or compared."""


@pytest.fixture
def setting(
    samba: PrivateSamba,
    samba_factory: Callable[..., PrivateSamba],
    mount: Callable[..., Mounted],
    proxy: Callable[..., PrivateProxy],
) -> Setting:
    return Setting(samba, samba_factory, mount, proxy)


def use(setting: Setting, tool: str, variant: str, scratch: Path, scale: int) -> None:
    """One tool in one variant; and once more over a mount that knows it from its cache."""
    mounted = setting.mounted(variant, *MODES)
    there = Path(tempfile.mkdtemp(prefix=f"{tool}-", dir=mounted.samba.path))
    TOOLS[tool](mounted.path / there.name, there, scratch, scale)
    mounted.remount()
    for path in sorted(there.rglob("*")):
        if path.is_file():
            here = mounted.path / path.relative_to(mounted.samba.path)
            assert here.read_bytes() == path.read_bytes(), path.name
    stats = mounted.stats()
    assert stats["application"]["errors"] == 0, mounted.log_text()
    assert stats["tasks"]["failed"] == 0, mounted.log_text()


@pytest.mark.parametrize(("tool", "variant"), SHORT)
def test_a_tool(setting: Setting, tmp_path: Path, tool: str, variant: str) -> None:
    use(setting, tool, variant, tmp_path, 1)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_for_long(setting: Setting, tmp_path: Path, tool: str, variant: str) -> None:
    use(setting, tool, variant, tmp_path, 4)
