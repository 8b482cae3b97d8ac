"""What libfuse is told when we mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from netfsfuse.config import MountConfig, ServerConfig
from netfsfuse.fuse.session import mount_options


def options(**more: object) -> set[str]:
    values: dict[str, object] = {
        "source": "//host/share",
        "mountpoint": Path("/mnt"),
        "server": ServerConfig("host", "share"),
    }
    return mount_options(MountConfig(**(values | more)))  # type: ignore[arg-type]


def test_plain() -> None:
    assert options() == {"fsname=//host/share", "subtype=netfsfuse"}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("//host/a,b", "fsname=//host/a\\,b"),
        ("//host/a\\b", "fsname=//host/a\\\\b"),
        ("//host/a\\,b", "fsname=//host/a\\\\\\,b"),
        ("//host/with blank", "fsname=//host/with blank"),
        ("//host/ro,suid=0", "fsname=//host/ro\\,suid=0"),
    ],
)
def test_a_source_cannot_smuggle_options(source: str, shown: str) -> None:
    assert shown in options(source=source)
    assert len(options(source=source)) == 2


def test_flags() -> None:
    told = options(
        allow_other=True,
        default_permissions=True,
        mount_flags=("nosuid", "nodev", "noatime", "x-systemd.automount", "nofail"),
    )
    assert {"allow_other", "default_permissions", "nosuid", "nodev", "noatime"} <= told
    assert not {"x-systemd.automount", "nofail", "rw", "ro", "max_read"} & told


def test_read_only_where_it_is_asked_for() -> None:
    assert options(read_only=True) - options() == {"ro"}


def test_a_source_beyond_ascii_reaches_the_kernel_as_it_was_given() -> None:
    (option,) = [each for each in options(source="//nas/Übung – 日本") if "fsname" in each]
    assert option.encode("us-ascii") == "fsname=//nas/Übung – 日本".encode()
