"""The addresses of the server: the one that was good last, and what a name server tells.

A name server may be as far away as the server, or silent: it is asked beside the attempt at the
address that is known, one question at a time, however long it takes.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from itertools import zip_longest

import trio

from netfsfuse.config import ServerConfig
from netfsfuse.errors import MountError


class Addresses:
    """Of the server that ``config`` names. ``are_given``: there is nothing to look up."""

    def __init__(self, config: ServerConfig) -> None:
        named = config.address or config.host
        self.are_given = _is_address(named)
        self._name = named
        self._shown = config.host
        self._port = config.port
        self._good = named if self.are_given else None
        self._one_question = trio.CapacityLimiter(1)

    def known(self) -> Sequence[str]:
        """Those to be tried at once."""
        return [] if self._good is None else [self._good]

    def reached(self, sock: socket.socket) -> None:
        """``sock`` is connected to the server."""
        if not self.are_given and sock.family in (socket.AF_INET, socket.AF_INET6):
            self._good = socket.getnameinfo(
                sock.getpeername(), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
            )[0]

    async def look_up(self) -> Sequence[str]:
        """All that the name stands for, in the resolver's order, its families by turns. Raises
        MountError. Cancelled, it leaves the question to its thread."""
        try:
            found = await trio.to_thread.run_sync(
                self._ask, abandon_on_cancel=True, limiter=self._one_question
            )
        except socket.gaierror:
            raise MountError(f"cannot find the host {self._shown}") from None
        except UnicodeError:  # a label that is empty, or has over 63 letters
            raise MountError(f"{self._name} cannot be the name of a host") from None
        except (OSError, RuntimeError) as failed:  # RuntimeError: no thread is to be had
            raise MountError(f"cannot look up {self._shown}: {failed}") from None
        return in_turns(found)

    def _ask(self) -> list[tuple[int, str]]:
        infos = socket.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return [(family, socket.getnameinfo(where, numeric)[0]) for family, *_, where in infos]


def in_turns(found: Sequence[tuple[int, str]]) -> list[str]:
    """PURE: the addresses of ``found``, of (family, address), each once: the first one's family and
    the others by turns (RFC 8305, 4)."""
    families: dict[bool, dict[str, None]] = {}
    for family, address in found:
        families.setdefault(family == socket.AF_INET6, {})[address] = None
    rows = zip_longest(*families.values())
    return [address for row in rows for address in row if address is not None]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
