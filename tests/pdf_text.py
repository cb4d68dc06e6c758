"""Text extraction from PDF files that reportlab made."""

import base64
import re
import zlib

_ESCAPED = re.compile(rb"\\([0-7]{3}|[()\\])")


def pdf_text(data):
    """Return the text that the pages draw, in the order of the file."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.S)
    packed = (each.strip().removesuffix(b"~>") for each in streams)
    drawn = b"\n".join(zlib.decompress(base64.a85decode(each)) for each in packed)
    found = re.findall(rb"\(((?:\\.|[^\\()])*)\) Tj", drawn)
    return b" ".join(_ESCAPED.sub(_unescaped, each) for each in found).decode("cp1252")


def _unescaped(match):
    return bytes([int(match[1], 8)]) if len(match[1]) == 3 else match[1]
