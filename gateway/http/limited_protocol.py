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
LAST_WORDS = b"content-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    _in_head = True  # true before the first byte, so that idle new connections time out, too
    _in_message = True
    _no_body = 0  # bytes received since the last body byte, or since the head began
    _came = 0  # body bytes since the last check
    _was_held = False  # whether reading was paused at the last check
    _looking: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_in(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        self._is_unstuck()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._no_body += len(data)
        super().data_received(data)
        if not self._in_message or self.transport.is_closing():
            return
        if self._no_body > HEAD_BYTES:
            self._refuse(TOO_LARGE)
        elif self._looking is None:
            self._look_in(HEAD_SECONDS if self._in_head else BODY_SECONDS)

    def on_message_begin(self) -> None:
        self._in_head = self._in_message = True
        self._no_body = self._came = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._no_body = 0
        self._stop_looking()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._no_body = 0
        self._came += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        self._stop_looking()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_unstuck()
        super().resume_writing()

    def _is_unstuck(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _look_in(self, seconds: float) -> None:
        self._looking = self.loop.call_later(seconds, self._look)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        self._looking = None
        held, before = self.flow.read_paused, self._was_held  # reading pauses while the handler is slow
        if self._in_head or not (held or before or self._came >= BODY_PACE):
            self._refuse(TOO_SLOW)
            return
        self._was_held, self._came = held, 0
        self._look_in(BODY_SECONDS)

    def _refuse(self, status: bytes) -> None:
        """Close the connection, with an error response if no handler runs. A running handler sees a disconnect."""
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(status + LAST_WORDS)
        self.transport.close()
