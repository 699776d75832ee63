"""A form with a file, read as it arrives: in any pieces, and refused when it is none."""

import pytest

from contracts.errors import Refused
from gateway.multipart import Form

KIND = b'multipart/form-data; boundary="x-y"'
BODY = (
    b'--x-y\r\nContent-Disposition: form-data; name="artifact_type"\r\n\r\narchive\r\n'
    b'--x-y\r\nContent-Disposition: form-data; name="file"; filename="out.zip"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\none\r\n--x-\r\ntwo\r\n--x-y--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_file_comes_out_whole_however_the_body_is_cut(size: int) -> None:
    form = Form(KIND)
    found = b"".join(form.feed(BODY[start : start + size]) for start in range(0, len(BODY), size))
    assert found == b"one\r\n--x-\r\ntwo"
    assert form.fields == {"artifact_type": "archive"}
    assert (form.file_name, form.has_file, form.complete) == ("out.zip", True, True)


def test_a_body_without_its_last_boundary_is_not_complete() -> None:
    form = Form(KIND)
    form.feed(BODY[:-8])
    assert (form.has_file, form.complete) == (True, False)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\out.zip", "out.zip"),
        ("..", ""),
        ("a\tb.zip", "a_b.zip"),
        ("x" * 300 + ".zip", "x" * 196 + ".zip"),
    ],
)
def test_a_file_name_is_the_last_part_of_a_path_without_harm(sent: str, kept: str) -> None:
    form = Form(KIND)
    form.feed(BODY.replace(b'"out.zip"', f'"{sent}"'.encode()))
    assert form.file_name == kept


@pytest.mark.parametrize("kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=x"])
def test_only_a_form_with_a_boundary_is_taken(kind: bytes) -> None:
    with pytest.raises(Refused, match="REQUEST_MALFORMED"):
        Form(kind)


@pytest.mark.parametrize(
    "body",
    [
        b"no form",
        BODY.replace(b'"artifact_type"', b'"file"'),
        BODY.replace(b"archive", b"a" * 5000),
        BODY.replace(b"Content-Type", b"X" * 5000),
        b'--x-y\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 30,
    ],
    ids=["no form", "two files", "long field", "long header", "many parts"],
)
def test_a_body_that_asks_for_too_much_is_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="REQUEST_MALFORMED"):
        Form(KIND).feed(body)
