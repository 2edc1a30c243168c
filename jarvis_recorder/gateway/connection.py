"""
The gateway's connections, with bounds also on the data that their parser gathers.

httptools hands over a header field only when it is complete, however long it has become, and
uvicorn makes a request of each head in the data it has read, however many there are.
"""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jarvis_recorder.net.connection_limits import Bounded

MOST_HEAD_BYTES: Final = 32 * 1024
_MOST_FIELDS: Final = 100
_MOST_PIPELINED: Final = 8
_MOST_UNREAD_BYTES: Final = 1024 * 1024
"""Of a refused request's body; so much is read and dropped, for the peer to read the refusal."""


class _Refused(Exception):
    """The peer sends more than it may; httptools stops on it as on a malformed request."""


class Connection(Bounded, HttpToolsProtocol):
    """A connection with a small request head and few pipelined requests."""

    most = 512
    most_of_one_address = 256

    _head_bytes = 0
    _unparsed_bytes = 0
    _unread_bytes = 0
    _status = HTTPStatus.BAD_REQUEST

    @property
    def is_known(self) -> bool:
        return "caller" in self.scope["state"]

    def data_received(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MOST_HEAD_BYTES:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        self.refuse(self._status)

    def refuse(self, status: HTTPStatus) -> None:
        """Close the connection; send the status unless it would look like an earlier one's reply."""
        if self.pipeline:
            self.transport.close()
        else:
            super().refuse(status)

    def on_message_begin(self) -> None:
        self._head_bytes = self._unread_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._gather(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field of the head, or a trailer field after a body."""
        self._gather(len(name) + len(value) + len(b": \r\n"))
        if len(self.headers) == _MOST_FIELDS:
            self._refuse_by(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        if len(self.pipeline) == _MOST_PIPELINED:
            self._refuse_by(HTTPStatus.TOO_MANY_REQUESTS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        if self.cycle.response_complete:
            self._unread_bytes += len(body)
            if self._unread_bytes > _MOST_UNREAD_BYTES:
                self._refuse_by(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        super().on_message_complete()

    def _gather(self, size: int) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += size
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refuse_by(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse_by(self, status: HTTPStatus) -> Any:
        self._status = status
        raise _Refused
