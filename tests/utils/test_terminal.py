"""Texts from files cannot control the terminal on which they are printed."""

from utils.errors import TrainingDataInvalid
from utils.one_line import in_one_line
from utils.terminal import printable


def test_control_characters_are_escaped_and_letters_are_kept():
    text = "Straße 東京 – a\nb"
    assert printable(text) == text
    hostile = "a\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u200b\tb"
    assert printable(hostile) == r"a\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u200b\tb"
    line = in_one_line(TrainingDataInvalid(f"x has no column b; it has {hostile}.\nCheck it."))
    assert line.isprintable() and r"\x1b[2J" in line
    line = in_one_line(FileNotFoundError(2, "No such file", "a\x1b[2J"))
    assert line.isprintable() and r"a\x1b[2J" in line
