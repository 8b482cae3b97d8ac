"""Who logs in: the order of the sources, the file's grammar, and errors without contents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netfsfuse.cli.credentials import (
    Login,
    parse_credentials,
    read_credentials_file,
    renewal,
    resolve_credentials,
)
from netfsfuse.cli.options import parse_options
from netfsfuse.config import Credentials
from netfsfuse.errors import MountError


def never_ask(prompt: str) -> str | None:
    raise AssertionError(f"asked: {prompt}")


def no_terminal(prompt: str) -> str | None:
    return None


def resolve(text: str, environ: dict[str, str], cwd: Path, ask=never_ask) -> Credentials:
    return resolve_credentials(parse_options([text]), environ, cwd, ask)[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cred"
    path.write_text("username=carl\npassword=from file\ndomain=FILE\n")
    path.chmod(0o600)
    return path


def test_file_grammar():
    text = "# a comment\n\n  username = bob \r\n\tpassword=  a=b%c, \r\ndom=D\n"
    assert parse_credentials(text, "f") == (Login("bob", "  a=b%c, ", "D"), [])


def test_file_with_a_domain_before_the_name():
    assert parse_credentials("user=D\\bob%x\n", "f")[0] == Login("bob%x", None, "D")
    assert parse_credentials("user=D/bob\ndomain=E\n", "f")[0] == Login("D/bob", None, "E")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("username=bob\npasswort=geheim\n", "line 2: unknown key, ignored"),
        ("username=bob\n\ngeheim\n", "line 3: not key=value, ignored"),
    ],
)
def test_what_is_left_out_is_named_by_its_line_and_not_by_what_it_says(text: str, said: str):
    login, notices = parse_credentials(text, "credentials file f")
    assert login == Login("bob")
    assert notices == [f"credentials file f, {said}"]


def test_files_that_mount_cifs_takes(tmp_path: Path):
    path = tmp_path / "cred"
    path.write_bytes(
        b"# f\xfcr das B\xfcro\n; x\n"
        b"UserName=bob\nPASSWORD=x y\nPassword2=y\npass2=z\nWorkGroup=W\n"
    )
    path.chmod(0o600)
    assert read_credentials_file(path) == (Login("bob", "x y", "W", "z"), [])


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_a_password_is_kept_verbatim(password: str):
    login, _ = parse_credentials(f"user=x\npassword={password}\n", "f")
    assert login.password == password


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_warns_when_others_can_read_the_file(file: Path, mode: int):
    assert read_credentials_file(file)[1] == []
    file.chmod(mode)
    (notice,) = read_credentials_file(file)[1]
    assert "chmod 600" in notice


def test_a_file_that_cannot_be_read(tmp_path: Path):
    for path, said in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(MountError, match=said):
            read_credentials_file(path)


def test_a_file_that_is_no_credentials_file(tmp_path: Path):
    path = tmp_path / "cred"
    path.write_bytes(b"username=\xff\xfe")
    with pytest.raises(MountError, match="UTF-8"):
        read_credentials_file(path)
    path.write_bytes(b"#" * 70000)
    with pytest.raises(MountError, match="too large"):
        read_credentials_file(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    path = tmp_path / "cred"
    path.write_bytes("\ufeffusername=bob\npassword=x\n".encode())
    path.chmod(0o600)
    assert read_credentials_file(path) == (Login("bob", "x", None), [])


def test_order_of_password_sources(file: Path, tmp_path: Path):
    passwd_file = tmp_path / "pw"
    passwd_file.write_text("from passwd_file\nsecond line")
    read, write = os.pipe()
    os.write(write, b"from fd\nmore")
    os.close(write)
    environ = {"PASSWD": "from env", "PASSWD_FD": str(read), "PASSWD_FILE": str(passwd_file)}
    with_file = f"user=bob,cred={file.name}"
    assert resolve(f"{with_file},pass=opt", environ, tmp_path).password == "opt"
    assert resolve(with_file, environ, tmp_path).password == "from file"
    assert resolve("user=bob", environ, tmp_path).password == "from env"
    del environ["PASSWD"]
    assert resolve("user=bob", environ, tmp_path).password == "from fd"
    os.close(read)
    del environ["PASSWD_FD"]
    assert resolve("user=bob", environ, tmp_path).password == "from passwd_file"
    assert resolve("user=bob", {}, tmp_path, lambda _: "typed").password == "typed"


def test_an_empty_password_is_a_password(tmp_path: Path):
    assert resolve("user=bob,pass=", {"PASSWD": "x"}, tmp_path).password == ""
    assert resolve("user=bob", {"PASSWD": ""}, tmp_path).password == ""


def test_options_win_over_the_file(file: Path, tmp_path: Path):
    found = resolve(f"cred={file},user=bob,dom=OPT", {}, tmp_path)
    assert found == Credentials("bob", "from file", "OPT")
    assert resolve(f"cred={file}", {}, tmp_path) == Credentials("carl", "from file", "FILE")


def test_user_from_the_environment(tmp_path: Path):
    found = resolve("ro", {"USER": "D/dora%pw"}, tmp_path)
    assert found == Credentials("dora", "pw", "D")
    assert resolve("user=bob", {"USER": "dora%pw", "PASSWD": "x"}, tmp_path).password == "x"


def test_user_from_the_local_user(tmp_path: Path):
    assert resolve("pass=x", {}, tmp_path).username


def test_nothing_is_asked_for_without_need(tmp_path: Path):
    guest = resolve("guest", {}, tmp_path)
    assert (guest.username, guest.password, guest.guest) == ("guest", "", True)
    assert resolve("sec=none", {}, tmp_path).anonymous
    kerberos = resolve("sec=krb5", {}, tmp_path)
    assert (kerberos.mechanism, kerberos.username, kerberos.password) == ("kerberos", None, None)


def test_no_password_and_no_terminal(tmp_path: Path):
    with pytest.raises(MountError, match=r"no password for bob: use credentials=FILE, PASSWD"):
        resolve("user=bob", {}, tmp_path, no_terminal)


@pytest.mark.parametrize(
    "environ", [{"PASSWD_FD": "77777"}, {"PASSWD_FD": "x"}, {"PASSWD_FILE": "/nonexistent"}]
)
def test_broken_password_sources(environ: dict[str, str], tmp_path: Path):
    with pytest.raises(MountError, match="PASSWD_F"):
        resolve("user=bob", environ, tmp_path)


@pytest.mark.parametrize(
    "text", ["user=\udcff,pass=x", "user=b,pass=\udcff", "user=b,pass=x,dom=\udcff"]
)
def test_what_is_no_text(tmp_path: Path, text: str):
    with pytest.raises(MountError, match="is no text in this locale"):
        resolve(text, {}, tmp_path)


def test_a_second_password_from_the_options_and_the_file(file: Path, tmp_path: Path) -> None:
    given = f"credentials={file}"
    assert resolve(given, {}, tmp_path).password2 is None
    with file.open("a") as more:
        more.write("password2= second \n")
    assert resolve(given, {}, tmp_path).password2 == " second "
    assert resolve(f"{given},password2=other", {}, tmp_path).password2 == "other"
    assert "second" not in repr(resolve(given, {}, tmp_path))


def test_a_login_from_a_file_is_read_again(file: Path, tmp_path: Path) -> None:
    choices = parse_options([f"credentials={file.name},user=dora"])
    now = resolve_credentials(choices, {}, tmp_path, never_ask)[0]
    renew = renewal(choices, {}, tmp_path, now)
    assert renew is not None
    file.write_text("username=carl\npassword=changed\n")
    assert renew() == Credentials("dora", "changed", None)
    file.unlink()
    with pytest.raises(MountError):
        renew()
    file.write_text("username=carl\n")  # half written
    with pytest.raises(MountError):
        renew()


def test_a_login_from_elsewhere_is_not(file: Path, tmp_path: Path) -> None:
    plain = parse_options(["user=dora"])
    assert renewal(plain, {}, tmp_path, Credentials("dora", "x")) is None
    choices = parse_options([f"credentials={file}"])  # pass= came before it, and is not told again
    assert renewal(choices, {}, tmp_path, Credentials("carl", "given", "FILE")) is None
    file.unlink()
    assert renewal(choices, {}, tmp_path, Credentials("carl", "from file", "FILE")) is None
