"""What is shown to a person."""

from __future__ import annotations

import pytest

from cachefiles.admin import report
from netfsfuse.cli import stats, watch
from netfsfuse.cli.main import main
from netfsfuse.cli.say import say
from netfsfuse.printable import printable


@pytest.mark.parametrize("escaping", [printable, report.printable])
def test_what_a_terminal_acts_on_is_escaped(escaping):
    for text in ("", "a b", "\u00dcbung \u2013 \u65e5\u672c", "[red]", "\\x1b"):
        assert escaping(text) == text
    assert escaping("a\x1b]0;x\x07\n\t\x7f\x9b") == r"a\x1b]0;x\x07\x0a\x09\x7f\x9b"
    assert escaping("exe.\u202egpj\u2066\ud800\U000e0001") == (
        r"exe.\u{202e}gpj\u{2066}\u{d800}\u{e0001}"
    )


def test_names_in_what_the_commands_say(capsys: pytest.CaptureFixture[str]):
    say(watch._line({"when": 0, "kind": "renamed", "path": "a\x1b[2J", "to": "b\nc"}))
    with pytest.raises(SystemExit):
        main(["stats", "/a\x1b[2J"])
    stats._print_table({"source": "[red]\x1b[2J"})
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert out.count("\n") == 2
    assert r"a\x1b[2J -> b\x0ac" in out
    assert r"[red]\x1b[2J" in out
    assert r"/a\x1b[2J is not" in err
