from __future__ import annotations

from pathlib import Path

from cachefiles import BLOCK
from cachefiles.admin.outside import StoredFile
from cachefiles.folder import Doomed
from tests.cachefiles.conftest import SIZE, backing_files, content_of


def test_whole_only_with_every_block_of_that_size(volume, cachedir):
    content = content_of(SIZE)
    file, _ = volume.open(b"k", SIZE, b"c")
    assert file.write(BLOCK, content[BLOCK:])
    data, _ = backing_files(cachedir)
    stored = StoredFile.at(cachedir, data.parent.parent.name, data.name)
    assert stored.path == data
    assert not stored.is_whole(SIZE)
    assert file.write(0, content[:BLOCK])
    assert stored.is_whole(SIZE)
    assert not stored.is_whole(SIZE - 1)
    file.close()


def test_a_pin_is_seen_by_the_cache(volume, cachedir):
    file, _ = volume.open(b"k", SIZE, b"c")
    assert not StoredFile(Path(cachedir) / "missing").pin()
    assert file.write(0, content_of(SIZE))
    stored = StoredFile(backing_files(cachedir)[0])
    assert stored.pin()
    assert volume._folder.find(
        f"{stored.path.name[:2]}/{stored.path.name}", lambda record: False, Doomed()
    ).pinned
    file.close()
