"""Filesystems of a kind and size that a test wants: an image, a loop device, a mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MIB = 1024 * 1024
SMALLEST = {"ext4": 16 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
"""Bytes: what mkfs of the kind accepts."""


def make(kind: str, image: Path) -> None:
    """mkfs on ``image``."""
    program = shutil.which(f"mkfs.{kind}", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None, f"mkfs.{kind} is missing: install xfsprogs btrfs-progs e2fsprogs"
    quiet = {"ext4": ["-q", "-F", "-m", "0"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}[kind]
    subprocess.run([program, *quiet, image], check=True, capture_output=True)


@contextmanager
def attached(image: Path) -> Iterator[str]:
    """The loop device of ``image`` meanwhile."""
    found = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    )
    device = found.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@contextmanager
def mounted(kind: str, device: str, options: Sequence[str] = ()) -> Iterator[Path]:
    """The filesystem on ``device``, mounted somewhere, its root private."""
    where = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir="/var/tmp"))
    try:
        flags = ["-o", ",".join(options)] if options else []
        subprocess.run(["mount", "-t", kind, *flags, device, where], check=True)
        try:
            where.chmod(0o700)
            yield where
        finally:
            if subprocess.run(["umount", where], check=False).returncode:
                subprocess.run(["umount", "--lazy", where], check=True)
    finally:
        where.rmdir()


@contextmanager
def loop_filesystem(
    kind: str, size: int, folder: Path, options: Sequence[str] = ()
) -> Iterator[Path]:
    """A new filesystem of ``size`` bytes, its image in ``folder``; nothing is left of it."""
    image = folder / f"image.{kind}"
    with image.open("wb") as file:
        file.truncate(size)
    try:
        make(kind, image)
        with attached(image) as device, mounted(kind, device, options) as where:
            yield where
    finally:
        image.unlink()
