"""Reading /proc/self/mountinfo."""

from __future__ import annotations

from netfsfuse.mountinfo import Mount, mount_at, mount_holding, parse_mountinfo, read_mounts

TEXT = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /mnt/a\\040b rw,nosuid - fuse.netfsfuse //nas/my\\040films rw,user_id=0,group_id=5
41 22 0:46 / /mnt/a\\134b rw master:2 shared:3 - fuse.sshfs host: rw
42 22 0:47 / /mnt/x rw - fuse.netfsfuse //nas/one rw
43 42 0:48 / /mnt/x rw - tmpfs none rw
a broken line
"""


def test_parse():
    mounts = parse_mountinfo(TEXT)
    assert mounts[1] == Mount("/mnt/a b", "fuse.netfsfuse", "//nas/my films", "0:45", 40, (0, 5))
    assert mounts[3].user is None
    assert mounts[2] == Mount("/mnt/a\\b", "fuse.sshfs", "host:", "0:46", 41)
    assert [mount.is_ours for mount in mounts] == [False, True, False, True, False]


def test_the_uppermost_mount_counts():
    mounts = parse_mountinfo(TEXT)
    assert mount_at("/mnt/x", mounts) == Mount("/mnt/x", "tmpfs", "none", "0:48", 43)
    assert mount_at("/mnt", mounts) is None


def test_the_mount_that_holds_a_path():
    mounts = parse_mountinfo(TEXT)
    assert mount_holding("/mnt/a b/c", mounts) == mounts[1]
    assert mount_holding("/mnt/a bc", mounts) == mounts[0]
    assert mount_holding("/mnt/x/y", mounts) == mounts[4]
    assert mount_holding("/", mounts) == mounts[0]


def test_the_real_file_has_a_root():
    assert mount_at("/", read_mounts()) is not None
