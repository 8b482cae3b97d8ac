"""What a mount may log in with, as it stands now.

Passwords change while a mount is there. The credentials file is read again for each login, so that
the next one is right as soon as the file is; and where there are two passwords (mount.cifs's
``password2``, for the time in which some servers have the new one and some do not), the one that
was let in last goes first: a password that is refused again and again locks an account.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from netfsfuse.config import Credentials
from netfsfuse.errors import MountError

log = logging.getLogger(__name__)


class Logins:
    """``renew`` reads the login again where it comes from: blocking, raises MountError where it
    cannot be read, and then the last one stays. May be used from several threads.
    """

    def __init__(
        self, credentials: Credentials, renew: Callable[[], Credentials] | None = None
    ) -> None:
        self._credentials = credentials
        self._renew = renew
        self._second_first = False
        self._told = ""

    def candidates(self) -> tuple[Credentials, ...]:
        """What to try, in this order; at least one, none with a second password. Blocking."""
        self._read_again()
        whole = self._credentials
        first = replace(whole, password2=None)
        if whole.password2 is None or whole.password2 == whole.password:
            return (first,)
        second = replace(first, password=whole.password2)
        return (second, first) if self._second_first else (first, second)

    def worked(self, credentials: Credentials) -> None:
        """The server has let these in."""
        self._second_first = (
            credentials.password != self._credentials.password
            and credentials.password == self._credentials.password2
        )

    def _read_again(self) -> None:
        if self._renew is None:
            return
        try:
            now = self._renew()
        except MountError as failed:
            if str(failed) != self._told:
                self._told = str(failed)
                log.warning("the login stays as it was: %s", failed)
            return
        self._told = ""
        if now != self._credentials:
            log.info("the login was changed")
            self._credentials, self._second_first = now, False
