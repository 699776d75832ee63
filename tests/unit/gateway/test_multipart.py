"""Streaming parser of multipart forms with one file."""

import pytest

from contracts.errors import RequestRejected
from gateway.http.multipart import FileForm

KIND = b'multipart/form-data; boundary="x-y"'
BODY = (
    b'--x-y\r\nContent-Disposition: form-data; name="artifact_type"\r\n\r\narchive\r\n'
    b'--x-y\r\nContent-Disposition: form-data; name="file"; filename="out.zip"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\none\r\n--x-\r\ntwo\r\n--x-y--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_multipart_file_is_complete_however_the_body_is_split(size: int) -> None:
    form = FileForm(KIND)
    content = b"".join(form.feed(BODY[start : start + size]) for start in range(0, len(BODY), size))
    assert content == b"one\r\n--x-\r\ntwo"
    assert form.fields == {"artifact_type": "archive"}
    assert (form.file_name, form.has_file, form.complete) == ("out.zip", True, True)


def test_a_multipart_body_without_its_last_boundary_is_incomplete() -> None:
    form = FileForm(KIND)
    form.feed(BODY[:-8])
    assert (form.has_file, form.complete) == (True, False)


@pytest.mark.parametrize(
    ("sent", "file_name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\out.zip", "out.zip"),
        ("..", ""),
        ("a\tb.zip", "a_b.zip"),
        ("x" * 300 + ".zip", "x" * 196 + ".zip"),
    ],
)
def test_a_file_name_is_reduced_to_a_safe_base_name(sent: str, file_name: str) -> None:
    form = FileForm(KIND)
    form.feed(BODY.replace(b'"out.zip"', f'"{sent}"'.encode()))
    assert form.file_name == file_name


@pytest.mark.parametrize("kind", [b"", b"application/json", b"multipart/form-data", b"multipart/mixed; boundary=x"])
def test_a_form_without_a_boundary_is_rejected(kind: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_MALFORMED"):
        FileForm(kind)


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
def test_a_multipart_body_beyond_the_limits_is_rejected(body: bytes) -> None:
    with pytest.raises(RequestRejected, match="REQUEST_MALFORMED"):
        FileForm(KIND).feed(body)
