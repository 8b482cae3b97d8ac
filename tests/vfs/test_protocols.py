"""What smb, fscache and the tests' fakes offer fits the interfaces that vfs and netfs own."""

from __future__ import annotations

import inspect

import pytest

from netfsfuse.fscache.io import ChangeableFile, FsCache
from netfsfuse.netfs import ops as netfs_ops
from netfsfuse.smb.share.deferred import DeferredFile
from netfsfuse.smb.share.directory import SmbListing
from netfsfuse.smb.share.file import SmbFile
from netfsfuse.smb.share.namespace import SmbNamespace
from netfsfuse.vfs import contents, ops
from tests.vfs import fakes


@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        (SmbNamespace, ops.Namespace),
        (fakes.FakeNamespace, ops.Namespace),
        (SmbNamespace, ops.MutableNamespace),
        (fakes.FakeNamespace, ops.MutableNamespace),
        (SmbListing, ops.Listing),
        (fakes.Listing, ops.Listing),
        (SmbFile, ops.OpenFile),
        (DeferredFile, ops.OpenFile),
        (fakes.OpenFile, ops.OpenFile),
        (FsCache, contents.CacheOps),
        (fakes.FakeCache, contents.CacheOps),
        (ChangeableFile, netfs_ops.CacheObject),
        (fakes.FakeObject, netfs_ops.CacheObject),
    ],
)
def test_methods_take_what_the_protocol_says(kind: type, protocol: type) -> None:
    wanted = {
        name: method
        for base in protocol.__mro__
        for name, method in vars(base).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    assert wanted
    for name, method in wanted.items():
        own = getattr(kind, name)
        assert inspect.iscoroutinefunction(own) == inspect.iscoroutinefunction(method), name
        theirs = [
            (p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()
        ]
        ours = [(p.name, p.kind, p.default) for p in inspect.signature(own).parameters.values()]
        assert ours == theirs, name
