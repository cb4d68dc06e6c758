"""The upload form, as read by the server and by a library."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from python_multipart.multipart import parse_options_header

from parties.upload_form import PIECE_BYTES, UploadForm
from service.http.upload_form import FIELDS, FILE, FormReader

FIELD = st.text(st.characters(codec="utf-8"), max_size=40)


@given(
    values=st.lists(FIELD, min_size=len(FIELDS), max_size=len(FIELDS)),
    size=st.sampled_from([0, 1, 300, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 1]),
)
def test_the_server_reads_the_values_and_the_file(values: list[str], size: int) -> None:
    fields = dict(zip(FIELDS, values, strict=True))
    content = (b"\r\n--" + bytes(range(256))) * (size // 260 + 1)
    form = UploadForm(fields, FILE, content[:size])
    reader = FormReader(form.headers["Content-Type"])
    found = b"".join(piece for chunk in form for piece in reader.feed(bytes(chunk)))
    reader.finish()
    assert found == content[:size]
    assert reader.fields == fields


def test_the_form_has_its_length_and_can_be_sent_again() -> None:
    form = UploadForm({"a": "ä"}, "files", bytes(PIECE_BYTES + 5))
    first, second = (b"".join(form) for _ in range(2))
    assert first == second
    assert len(first) == int(form.headers["Content-Length"])


def test_each_form_has_a_boundary_of_its_own() -> None:
    """A boundary known to others could be put into a value."""
    kinds = [UploadForm({}, "files", b"").headers["Content-Type"] for _ in range(2)]
    boundaries = {parse_options_header(kind)[1][b"boundary"] for kind in kinds}
    assert len(boundaries) == 2
