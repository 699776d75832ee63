"""A streaming parser of multipart forms with one file."""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from contracts.errors import RequestRejected

MAX_PARTS = 20
MAX_FIELD_BYTES = 4096
MAX_FILE_NAME_LENGTH = 200  # characters
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class FileForm:
    """Parses a form chunk by chunk. `fields` and `file_name` are set as their parts arrive."""

    def __init__(self, content_type: bytes) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise RequestRejected("REQUEST_MALFORMED", "The body must be multipart/form-data.")
        self.fields: dict[str, str] = {}
        self.file_name = ""
        self.has_file = False
        self.complete = False  # whether the closing boundary was read
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._part_name = ""
        self._is_file_part = False
        self._part_count = 0
        self._field_bytes = bytearray()
        self._file_bytes = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_name,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError:
            raise RequestRejected("REQUEST_MALFORMED", "The multipart boundary is invalid.") from None

    def feed(self, chunk: bytes) -> bytes:
        """Parse a chunk of the body and return the bytes that belong to the file. Raises REQUEST_MALFORMED."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise RequestRejected("REQUEST_MALFORMED", "The body is not a valid multipart form.") from None
        file_bytes = bytes(self._file_bytes)
        self._file_bytes.clear()
        return file_bytes

    def _on_part_begin(self) -> None:
        self._part_count += 1
        if self._part_count > MAX_PARTS:
            raise RequestRejected("REQUEST_MALFORMED", f"The form has more than {MAX_PARTS} parts.")
        self._headers, self._field_bytes = {}, bytearray()

    def _on_header_name(self, content: bytes, start: int, end: int) -> None:
        self._header_name += content[start:end]

    def _on_header_value(self, content: bytes, start: int, end: int) -> None:
        self._header_value += content[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part_name = options.get(b"name", b"").decode(errors="replace")
        self._is_file_part = self._part_name == "file"
        if not self._is_file_part:
            return
        if self.has_file:
            raise RequestRejected("REQUEST_MALFORMED", "The form has more than one file.")
        self.has_file = True
        self.file_name = _safe_file_name(options.get(b"filename", b"").decode(errors="replace"))

    def _on_data(self, content: bytes, start: int, end: int) -> None:
        if self._is_file_part:
            self._file_bytes += content[start:end]
            return
        self._field_bytes += content[start:end]
        if len(self._field_bytes) > MAX_FIELD_BYTES:
            raise RequestRejected("REQUEST_MALFORMED", f"A form field is longer than {MAX_FIELD_BYTES} bytes.")

    def _on_part_end(self) -> None:
        if not self._is_file_part:
            self.fields[self._part_name] = self._field_bytes.decode(errors="replace")

    def _on_end(self) -> None:
        self.complete = True


def _safe_file_name(name: str) -> str:
    """Return the last segment of the path, with control characters replaced and limited in length."""
    return CONTROL_CHARACTERS.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")[-MAX_FILE_NAME_LENGTH:]
