"""The handshake with a real Samba, alone and with a man in the middle who has no key."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import smbprotocol.session
import spnego.exceptions

from netfsfuse.config import Credentials, ServerConfig
from netfsfuse.errors import LoginRefused, MountError, Refused
from netfsfuse.lab.server.samba import PrivateSamba
from netfsfuse.smb.connection.handshake_result import Protection
from netfsfuse.smb.session.bridge import Handshake
from netfsfuse.smb.session.logins import Logins
from netfsfuse.smb.status import LOGON_FAILURE
from netfsfuse.smb.wire.header import Command
from tests.support.messages import Message
from tests.support.proxy import PrivateProxy

pytestmark = pytest.mark.samba

DIALECTS = {"2.1": 0x210, "3.0": 0x300, "3.0.2": 0x302, "3.1.1": 0x311}

CAP_ENCRYPTION = 0x40
SHARE_ENCRYPT = 0x8000
SESSION_ENCRYPT = 4
SESSION_GUEST = 1


@pytest.fixture(scope="module")
def server(session_folder: Path) -> Iterator[PrivateSamba]:
    """Encrypts where the client can, and lets strangers in as guests."""
    shares = {"sealed": {"smb encrypt": "desired"}, "printer": {"printable": "yes"}}
    options = {"map to guest": "bad user"}
    with PrivateSamba(
        options, share_options={"guest ok": "yes"}, shares=shares, base=session_folder
    ) as server:
        yield server


@pytest.fixture(scope="module")
def sealing(session_folder: Path) -> Iterator[PrivateSamba]:
    """Would encrypt all of each session."""
    with PrivateSamba({"smb encrypt": "desired"}, base=session_folder) as server:
        yield server


Login = dict[str, object]


def shake_hands(
    server: PrivateSamba, least: Protection | None = None, **more: object
) -> Protection:
    """What a handshake ends in. Raises MountError."""
    who = Credentials(username=server.username, password=server.password)
    values: Login = {
        "host": server.host,
        "share": server.share,
        "port": server.port,
        "credentials": who,
        "connect_timeout": 10.0,
    }
    made = Handshake(ServerConfig(**(values | more)), least).run()  # type: ignore[arg-type]
    with closing(made.sock):
        return made.protection


# -- alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_protects_a_connection(server: PrivateSamba, dialect: str) -> None:
    number = DIALECTS[dialect]
    modern = number >= 0x300
    plain = Protection(number, keyed=True)
    sealed = Protection(number, keyed=True, sealed=True)
    signed = Protection(number, keyed=True, signed=True)
    assert shake_hands(server, dialect=dialect) == signed
    assert shake_hands(server, dialect=dialect, sign_unasked=False) == plain
    assert shake_hands(server, dialect=dialect, sign=True, sign_unasked=False) == signed
    assert shake_hands(server, dialect=dialect, share="sealed") == (sealed if modern else signed)
    if modern:
        assert shake_hands(server, dialect=dialect, seal=True) == sealed
    for who in (Credentials("guest", "", guest=True), Credentials(anonymous=True)):
        assert shake_hands(server, dialect=dialect, credentials=who) == Protection(number)


def test_the_best_dialect_that_both_have(server: PrivateSamba) -> None:
    assert shake_hands(server).dialect == 0x311
    offered: list[int] = []

    def on_request(message: Message) -> None:
        if message.command is Command.NEGOTIATE:
            offered.extend(struct.unpack_from(f"<{message.number(66, 2)}H", message, 100))

    with PrivateProxy(server.port, on_request=on_request) as middle:
        shake_hands(server, port=middle.port)
    assert offered == list(DIALECTS.values())


def test_a_guest_only_where_one_was_asked_for(server: PrivateSamba) -> None:
    stranger = Credentials(username="stranger", password="any")
    with pytest.raises(LoginRefused, match="would let stranger in as a guest"):
        shake_hands(server, credentials=stranger)


def test_a_second_password_is_tried_where_the_first_is_refused_and_then_goes_first(
    server: PrivateSamba, proxy: Callable[..., PrivateProxy]
) -> None:
    refusals: list[int] = []

    def count(message: Message) -> None:
        if message.command is Command.SESSION_SETUP and message.status == LOGON_FAILURE:
            refusals.append(message.status)

    line = proxy(server.port, on_reply=count)
    who = Credentials(server.username, "wrong", password2=server.password)
    config = ServerConfig(server.host, server.share, line.port, credentials=who)
    logins = Logins(who)
    for _ in range(3):
        made = Handshake(config, logins=logins).run()
        with closing(made.sock):
            assert made.sign_requests
    assert len(refusals) == 1
    with pytest.raises(LoginRefused, match="wrong user name or password"):
        shake_hands(server, credentials=replace(who, password2="wrong, too"))


def test_a_share_that_is_not_there_may_come_yet(server: PrivateSamba) -> None:
    with pytest.raises(MountError, match="there is no share 'nowhere'") as caught:
        shake_hands(server, share="nowhere")
    assert not isinstance(caught.value, Refused)


def test_a_wrong_password_will_not_get_better(server: PrivateSamba) -> None:
    with pytest.raises(LoginRefused, match="wrong user name or password"):
        shake_hands(server, credentials=Credentials(server.username, "not-it"))


def test_where_ntlm_is_not_allowed(samba_factory: Callable[..., PrivateSamba]) -> None:
    strict = samba_factory({"ntlm auth": "disabled"})
    with pytest.raises(LoginRefused, match="allows no NTLM login; try sec=krb5"):
        shake_hands(strict)


def test_a_login_that_fails_on_our_side_is_refused_too(
    server: PrivateSamba, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as Kerberos without a ticket: it is not tried again with each request."""

    def without_ticket(*_: object, **__: object) -> None:
        raise spnego.exceptions.NoCredentialError(context_msg="no ticket")

    monkeypatch.setattr(smbprotocol.session.spnego, "client", without_ticket)
    with pytest.raises(LoginRefused, match="no ticket"):
        shake_hands(server)


def test_shares_that_hold_no_files(server: PrivateSamba) -> None:
    with pytest.raises(Refused, match=r"IPC\$ is a pipe"):
        shake_hands(server, share="IPC$")


def test_names_that_are_no_text(server: PrivateSamba) -> None:
    """Bytes of another encoding than the locale's come as surrogates."""
    for who in (Credentials("b\udce4r", "x"), Credentials("bob", "x", domain="\udcff")):
        with pytest.raises(MountError, match="is not text"):
            shake_hands(server, credentials=who)
    with pytest.raises(MountError, match="ILLEGAL_CHARACTER"):
        shake_hands(server, share="\udcff")


@pytest.mark.parametrize("host", ["nas..local", ".nas", "x" * 64 + ".example", "ä" * 80])
def test_names_that_no_host_can_have(host: str) -> None:
    for config in (ServerConfig(host, "share"), ServerConfig("nas", "share", address=host)):
        with pytest.raises(MountError, match=f"^{host} cannot be the name of a host"):
            Handshake(config).run()


# -- with a man in the middle ----------------------------------------------------------------------

Tamper = Callable[[Message], bytes | None]


def of(command: Command, change: Callable[[Message], object]) -> Tamper:
    """``change`` for successful messages of one command."""

    def tamper(message: Message) -> None:
        if message.command is command and message.status == 0:
            change(message)

    return tamper


def cut(at: int, size: int, bits: int) -> Callable[[Message], None]:
    return lambda message: message.put(at, size, message.number(at, size) & ~bits)


def both(*changes: Callable[[Message], object]) -> Callable[[Message], None]:
    def change(message: Message) -> None:
        for one in changes:
            one(message)

    return change


def final_session_setup(change: Callable[[Message], object]) -> Tamper:
    return of(Command.SESSION_SETUP, change)


SHARE_FLAGS = 64 + 4
SESSION_FLAGS = 64 + 2
SERVER_MODE, SERVER_DIALECT, SERVER_CAPABILITIES = 64 + 2, 64 + 4, 64 + 24
CLIENT_CAPABILITIES = 64 + 8

REPLIES: dict[str, tuple[str, dict[str, object], Tamper, str]] = {
    "share unsigned": (
        "3.1.1",
        {"sign": True},
        of(Command.TREE_CONNECT, Message.unsign),
        "TREE_CONNECT is not signed",
    ),
    "share unsigned, though signing was not asked for": (
        "3.0",
        {"sign_unasked": False},
        of(Command.TREE_CONNECT, Message.unsign),
        "TREE_CONNECT is not signed",
    ),
    "share's encryption taken away": (
        "3.1.1",
        {"share": "sealed"},
        of(Command.TREE_CONNECT, both(cut(SHARE_FLAGS, 4, SHARE_ENCRYPT), Message.unsign)),
        "TREE_CONNECT is not signed",
    ),
    "share's encryption taken away, signature left": (
        "3.0.2",
        {"share": "sealed"},
        of(Command.TREE_CONNECT, cut(SHARE_FLAGS, 4, SHARE_ENCRYPT)),
        "signature does not fit",
    ),
    "login unsigned": (
        "2.1",
        {},
        final_session_setup(Message.unsign),
        "SESSION_SETUP is not signed",
    ),
    "made a guest": (
        "3.1.1",
        {},
        final_session_setup(lambda m: m.put(SESSION_FLAGS, 2, SESSION_GUEST)),
        "as a guest",
    ),
    "capabilities cut": (
        "3.0.2",
        {"share": "sealed"},
        of(Command.NEGOTIATE, cut(SERVER_CAPABILITIES, 4, CAP_ENCRYPTION)),
        "changed on the way",
    ),
    "capabilities cut, 2.1": (
        "2.1",
        {},
        of(Command.NEGOTIATE, cut(SERVER_CAPABILITIES, 4, 4)),
        "changed on the way",
    ),
    "capabilities cut, 3.1.1": (
        "3.1.1",
        {},
        of(Command.NEGOTIATE, cut(SERVER_CAPABILITIES, 4, 4)),
        "signature does not fit",
    ),
    "2.0.2 chosen": (
        "",
        {},
        of(Command.NEGOTIATE, lambda m: m.put(SERVER_DIALECT, 2, 0x202)),
        "speaks only SMB 2.0.2",
    ),
    "a dialect nobody offered": (
        "3.1.1",
        {},
        of(Command.NEGOTIATE, lambda m: m.put(SERVER_DIALECT, 2, 0x302)),
        "not offered",
    ),
    "a wildcard for a dialect": (
        "",
        {},
        of(Command.NEGOTIATE, lambda m: m.put(SERVER_DIALECT, 2, 0x2FF)),
        "not offered",
    ),
}


@pytest.mark.parametrize("what", REPLIES)
def test_a_reply_that_was_tampered_with(server: PrivateSamba, what: str) -> None:
    dialect, more, tamper, says = REPLIES[what]
    with (
        PrivateProxy(server.port, on_reply=tamper) as middle,
        pytest.raises(MountError, match=says),
    ):
        shake_hands(server, dialect=dialect or None, port=middle.port, **more)


def test_a_sessions_encryption_taken_away(sealing: PrivateSamba) -> None:
    assert shake_hands(sealing, dialect="3.0.2").sealed
    change = both(cut(SESSION_FLAGS, 2, SESSION_ENCRYPT), Message.unsign)
    with (
        PrivateProxy(sealing.port, on_reply=final_session_setup(change)) as middle,
        pytest.raises(MountError, match="SESSION_SETUP is not signed"),
    ):
        shake_hands(sealing, dialect="3.0.2", port=middle.port)


def test_a_plain_reply_in_an_encrypted_session(server: PrivateSamba) -> None:
    plain: list[Message] = []

    def keep(message: Message) -> None:
        if message.command is Command.TREE_CONNECT:
            plain.append(message)

    with PrivateProxy(server.port, on_reply=keep) as middle:
        shake_hands(server, port=middle.port)

    def replace(message: Message) -> bytes | None:
        if message.is_sealed:
            plain[0].unsign()
            return plain[0]
        return None

    with (
        PrivateProxy(server.port, on_reply=replace) as middle,
        pytest.raises(MountError, match="TREE_CONNECT is not encrypted"),
    ):
        shake_hands(server, seal=True, port=middle.port)


def downgrade(message: Message) -> None:
    """Offer the server 3.0.2 in place of 3.1.1, and nothing else newer."""
    if message.command is Command.NEGOTIATE:
        for at in range(100, 100 + 2 * message.number(66, 2), 2):
            message.put(at, 2, min(message.number(at, 2), 0x302))


def test_a_downgraded_negotiation_is_not_confirmed(server: PrivateSamba) -> None:
    with (
        PrivateProxy(server.port, on_request=downgrade) as middle,
        pytest.raises(MountError, match="tampered"),
    ):
        shake_hands(server, port=middle.port)


def test_a_downgraded_negotiation_that_the_man_in_the_middle_confirms(server: PrivateSamba) -> None:
    """He answers VALIDATE_NEGOTIATE_INFO himself, as the server would, but for the signature."""
    said: dict[str, bytes] = {}

    def on_request(message: Message) -> bytes | None:
        downgrade(message)
        if message.command is not Command.IOCTL:
            return None
        reply = Message(message[:64])
        reply.put(16, 4, 1)  # a reply, unsigned
        reply.put(14, 2, 1)
        reply[48:64] = bytes(16)
        reply += struct.pack("<HHI16sIIIIII", 49, 0, 0x140204, b"\xff" * 16, 112, 0, 112, 24, 0, 0)
        message.answer(bytes(reply + said["server"]))
        return b""

    def on_reply(message: Message) -> None:
        if message.command is Command.NEGOTIATE:
            mode, dialect = message[SERVER_MODE : SERVER_MODE + 2], message[68:70]
            guid = message[64 + 8 : 64 + 24]
            said["server"] = bytes(message[88:92] + guid + mode + dialect)

    with (
        PrivateProxy(server.port, on_request=on_request, on_reply=on_reply) as middle,
        pytest.raises(MountError, match="IOCTL is not signed"),
    ):
        shake_hands(server, port=middle.port)


def test_what_the_client_offered_is_confirmed_too(server: PrivateSamba) -> None:
    tamper = of(Command.NEGOTIATE, cut(CLIENT_CAPABILITIES, 4, CAP_ENCRYPTION))
    with (
        PrivateProxy(server.port, on_request=tamper) as middle,
        pytest.raises(MountError, match="tampered"),
    ):
        shake_hands(server, dialect="3.0", share="sealed", port=middle.port)


# -- in place of an earlier connection -------------------------------------------------------------


def test_no_lower_dialect_than_before(samba_factory: Callable[..., PrivateSamba]) -> None:
    older = samba_factory({"server max protocol": "SMB3_02"})
    assert shake_hands(older, Protection(0x302)).dialect == 0x302
    with pytest.raises(Refused, match="does not speak"):
        shake_hands(older, Protection(0x311))


def test_no_less_protection_than_before(server: PrivateSamba) -> None:
    had = Protection(0x300, keyed=True, signed=True)
    assert shake_hands(server, had) == Protection(0x311, keyed=True, signed=True)
    had = Protection(0x300, keyed=True, sealed=True)
    assert shake_hands(server, had) == Protection(0x311, keyed=True, sealed=True)
    with pytest.raises(MountError, match="no key"):
        shake_hands(server, had, credentials=Credentials("guest", "", guest=True))


def test_encryption_is_not_given_up(samba_factory: Callable[..., PrivateSamba]) -> None:
    open_only = samba_factory({"server smb encrypt": "off"})
    assert not shake_hands(open_only).sealed
    with pytest.raises(MountError, match="encryption is required"):
        shake_hands(open_only, Protection(0x311, keyed=True, sealed=True))
