"""An HTTP connection with limits on the size and the pace of requests, against clients that hold connections open."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# maximum size of a request's head and of chunk headers in its body; the first read may exceed it
HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0  # maximum time to receive a request's head
BODY_SECONDS = 60.0  # interval of checks while a body is received
BODY_PACE = 4096  # minimum number of body bytes per BODY_SECONDS
ANSWER_SECONDS = 300.0  # the connection is aborted if the client does not read the response for this time
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\n"
END_OF_HEAD = b"content-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    _in_head = True  # true before the first byte, so that idle new connections time out, too
    _in_message = True
    _overhead_bytes = 0  # bytes received since the last body byte, or since the head began
    _body_bytes = 0  # body bytes since the last check
    _was_held = False  # whether reading was paused at the last check
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_write_timeout()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._overhead_bytes += len(data)
        super().data_received(data)
        if not self._in_message or self.transport.is_closing():
            return
        if self._overhead_bytes > HEAD_BYTES:
            self._refuse(TOO_LARGE)
        elif self._timer is None:
            self._start_timer(HEAD_SECONDS if self._in_head else BODY_SECONDS)

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = True
        self._overhead_bytes = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._overhead_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._overhead_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._stop_timer()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_write_timeout()
        super().resume_writing()

    def _stop_write_timeout(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check_pace)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_pace(self) -> None:
        self._timer = None
        held, before = self.flow.read_paused, self._was_held  # reading pauses while the handler is slow
        if self._in_head or not (held or before or self._body_bytes >= BODY_PACE):
            self._refuse(TOO_SLOW)
            return
        self._was_held, self._body_bytes = held, 0
        self._start_timer(BODY_SECONDS)

    def _refuse(self, status: bytes) -> None:
        """Close the connection, with an error response if no handler runs. A running handler sees a disconnect."""
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(status + END_OF_HEAD)
        self.transport.close()
