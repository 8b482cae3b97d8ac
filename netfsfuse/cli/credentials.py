"""The login: from options, the credentials file, the environment, or a prompt.

A password is looked for in this order: ``pass=``, the credentials file, PASSWD, PASSWD_FD,
PASSWD_FILE, a prompt when there is a terminal. A user: ``user=``, the credentials file, USER
(``name`` or ``name%password``), the local user's name. Nothing is asked for with ``guest``,
``sec=none`` and Kerberos.

A second password, for when the first is refused, is looked for in ``password2=`` and the file.

In a credentials file a password is everything after ``=`` to the end of the line, spaces included;
mount.cifs loses leading spaces there. Errors name files and line numbers, never contents.
"""

from __future__ import annotations

import codecs
import os
import pwd
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from netfsfuse.cli.choices import Choices
from netfsfuse.cli.values import split_login
from netfsfuse.config import Credentials
from netfsfuse.errors import MountError

SECRET_VARIABLES = ("PASSWD", "PASSWD_FD", "PASSWD_FILE")
_SECRETS = ("password", "password2")
_FILE_LIMIT = 64 * 1024  # bytes; a credentials file is a few lines
_KEYS = ("username", "password", "password2", "domain", "workgroup")
_SHORT = {"user": "username", "pass": "password", "pass2": "password2", "dom": "domain"}

Ask = Callable[[str], str | None]
"""Prompts with a text and returns the password, or None when there is no terminal."""


@dataclass(slots=True)
class Login:
    """What a credentials file holds."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    domain: str | None = None
    password2: str | None = field(default=None, repr=False)


def parse_credentials(text: str, shown: str) -> tuple[Login, list[str]]:
    """The login in the lines of a credentials file, and notices; ``shown`` names the file in them.

    Keys count in either case; a line that is no ``key=value``, or whose key is unknown, is named
    and left out, as mount.cifs leaves it out.
    """
    login = Login()
    notices = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r")
        key, equals, value = line.partition("=")
        key = key.strip().lower()
        if not line.strip() or key.startswith(("#", ";")):
            continue
        attribute = _attribute(key) if equals else None
        if attribute is None:
            said = "unknown key" if equals else "not key=value"
            notices.append(f"{shown}, line {number}: {said}, ignored")
            continue
        setattr(login, attribute, value if attribute in _SECRETS else value.strip())
    if login.username and login.domain is None:
        login.domain, login.username, _ = split_login(login.username.replace("%", "\0"))
        login.username = login.username.replace("\0", "%")
    return login, notices


def _attribute(key: str) -> str | None:
    """What of a :class:`Login` the key sets, in lower case; None for an unknown one."""
    name = _SHORT.get(key, key)
    return {"workgroup": "domain"}.get(name, name) if name in _KEYS else None


def read_credentials_file(path: Path) -> tuple[Login, list[str]]:
    """The login in the file and notices about it. Raises MountError in one line."""
    shown = f"credentials file {path}"
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise MountError(f"cannot read {shown}: {error.strerror}") from None
    if len(content) > _FILE_LIMIT:
        raise MountError(f"{shown} is too large to be one")
    notices = []
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        notices.append(f"{shown} is open to other users: chmod 600 it")
    login, more = parse_credentials(_decoded(content, shown), shown)
    return login, [*notices, *more]


def _decoded(content: bytes, shown: str) -> str:
    """The text; a comment may be in any encoding, a login is UTF-8."""
    lines = content.removeprefix(codecs.BOM_UTF8).split(b"\n")
    text = []
    for number, line in enumerate(lines, start=1):
        try:
            text.append(line.decode())
        except UnicodeDecodeError:
            if _matters(line):
                raise MountError(f"{shown}, line {number} is not UTF-8 text") from None
            text.append(line.decode("latin-1"))
    return "\n".join(text)


def _matters(line: bytes) -> bool:
    key, equals, _ = line.decode("latin-1").partition("=")
    return bool(equals) and _attribute(key.strip().lower()) is not None


def password_from_environment(environ: Mapping[str, str]) -> str | None:
    """PASSWD, then the first line behind PASSWD_FD, then of PASSWD_FILE; None when none is set."""
    if "PASSWD" in environ:
        return environ["PASSWD"]
    if "PASSWD_FD" in environ:
        try:
            with open(int(environ["PASSWD_FD"]), "rb", closefd=False) as file:
                return _first_line(file.read(_FILE_LIMIT), "PASSWD_FD")
        except (OSError, ValueError):
            raise MountError("cannot read the password: PASSWD_FD is no open file") from None
    if "PASSWD_FILE" in environ:
        path = environ["PASSWD_FILE"]
        try:
            with open(path, "rb") as file:
                return _first_line(file.read(_FILE_LIMIT), "PASSWD_FILE")
        except OSError as error:
            raise MountError(f"cannot read PASSWD_FILE {path}: {error.strerror}") from None
    return None


def _first_line(content: bytes, origin: str) -> str:
    try:
        return content.split(b"\n", 1)[0].removesuffix(b"\r").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MountError(f"the password in {origin} is not UTF-8 text") from None


def resolve_credentials(
    choices: Choices, environ: Mapping[str, str], cwd: Path, ask: Ask
) -> tuple[Credentials, list[str]]:
    """The login, and notices for the user.

    Raises :class:`MountError` when a file cannot be read, when a password is needed and there
    is neither one nor a terminal, or when something of it is no text.
    """
    found, notices = _resolve(choices, environ, cwd, ask)
    for what, value in (
        ("user name", found.username),
        ("password", found.password),
        ("second password", found.password2),
        ("domain", found.domain),
    ):
        if any("\ud800" <= character <= "\udfff" for character in value or ""):
            raise MountError(f"the {what} is no text in this locale")
    return found, notices


def _resolve(
    choices: Choices, environ: Mapping[str, str], cwd: Path, ask: Ask
) -> tuple[Credentials, list[str]]:
    login = Login()
    notices: list[str] = []
    if choices.credentials_file is not None:
        path = cwd / os.path.expanduser(choices.credentials_file)
        login, notices = read_credentials_file(path)
    if choices.anonymous:
        return Credentials(anonymous=True, mechanism=choices.mechanism), notices
    username = choices.username or login.username
    domain = choices.domain or login.domain
    if choices.guest:
        return Credentials(username or "guest", "", domain, guest=True), notices
    password = login.password if choices.password is None else choices.password
    password2 = login.password2 if choices.password2 is None else choices.password2
    if choices.mechanism == "kerberos":
        return Credentials(username, password, domain, mechanism="kerberos"), notices
    if username is None:
        user_domain, username, user_password = split_login(_local_user(environ))
        domain = domain or user_domain
        password = user_password if password is None else password
    if password is None:
        password = password_from_environment(environ)
    if password is None:
        password = ask(f"Password for {username}: ")
    if password is None:
        raise MountError(
            f"no password for {username}: use credentials=FILE, PASSWD, PASSWD_FILE or guest"
        )
    found = Credentials(username, password, domain, password2, mechanism=choices.mechanism)
    return found, notices


def renewal(
    choices: Choices, environ: Mapping[str, str], cwd: Path, now: Credentials
) -> Callable[[], Credentials] | None:
    """What reads the login again from the credentials file; None where there is none, or where
    ``now``, the login, comes from elsewhere. What it returns raises MountError."""
    if choices.credentials_file is None:
        return None

    def read() -> Credentials:
        return resolve_credentials(choices, environ, cwd, lambda _: None)[0]

    try:
        return read if read() == now else None
    except MountError:
        return None


def _local_user(environ: Mapping[str, str]) -> str:
    name = environ.get("USER", "")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise MountError("no user name: give one with -o user=NAME") from None
