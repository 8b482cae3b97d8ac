"""Every class of the error tree has an errno, and the one its docstring names."""

from __future__ import annotations

import errno
import re

import pytest

from netfsfuse import errors
from netfsfuse.errors import NetfsError
from netfsfuse.fuse.errnos import EXPECTED, errno_of

CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, NetfsError)
]


@pytest.mark.parametrize("kind", CLASSES)
def test_errno_is_the_documented_one(kind: type[NetfsError]) -> None:
    code = errno_of(kind("why"))
    named = re.findall(r"\bE[A-Z]{2,}\b", kind.__doc__ or "")
    if named:
        assert errno.errorcode[code].replace("ENOTSUP", "EOPNOTSUPP") in [
            name.replace("ENOTSUP", "EOPNOTSUPP") for name in named
        ]
    else:
        assert code == errno.EIO
    assert (kind in EXPECTED) == (code not in (errno.EIO, errno.ETIMEDOUT))


def test_a_subclass_inherits_its_errno() -> None:
    class Gone(errors.NotFound):
        """A more particular one."""

    assert errno_of(Gone()) == errno.ENOENT
