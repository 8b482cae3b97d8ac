"""What other people named is no command to a reader's terminal. A leaf; imports nothing of ours."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with everything that a terminal would act on, or not show, as ``\\xNN`` or
    ``\\u{N}``: control characters, escape sequences, what turns the writing direction."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"
