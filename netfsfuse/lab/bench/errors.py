"""What can go wrong in a bench that is not a bug."""

from __future__ import annotations

from netfsfuse.errors import NetfsError


class BenchError(NetfsError):
    """The bench, or one contender of it, cannot go on; the message is one line for the user."""


class NotHere(NetfsError):
    """A cell or contender cannot be measured here; the message says why."""
