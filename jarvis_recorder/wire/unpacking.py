"""
The property `content_encoding`, and the body without it.

Publishers put a compression there (RFC 9110, 8.4; gzip is supported) and the charset of a text:
kombu sends `utf-8` with all its JSON, Spring `UTF-8`, or `gzip, UTF-8` if it compresses. JSON is
UTF-8 whatever they say (RFC 8259, 8.1); the charset is used only for a body that is not.
"""

import re
import zlib
from functools import lru_cache
from typing import Final, NamedTuple

from jarvis_recorder.wire.refusal import Reason, Refused
from jarvis_recorder.wire.topics import MIB

_GZIP_WINDOW: Final = 4_096
# A body that compresses better than this, and is this long, is an attack: ten thousand guests
# whose entries of a kilobyte differ only in a number shrink to a hundredth.
_MAX_GZIP_RATIO: Final = 200
_GZIP_MAY_UNPACK_TO: Final = 4 * MIB
_GZIP: Final = frozenset(("gzip", "x-gzip"))
_AS_IT_IS: Final = frozenset(
    ("identity", "binary", "7bit", "8bit", "none", "utf-8", "utf8", "us-ascii", "ascii", "")
)
# Only these: Python searches for a module by any given name, and caches each missing one.
_CHARSET: Final = re.compile(
    r"utf-?8(?:-?sig|-?bom|mb4)?|utf-?(?:16|32)(?:-?[lb]e)?|(?:iso-?)?8859-?[0-9]{1,2}"
    r"|iso-?ir-?100|latin-?[0-9]{1,2}|(?:windows|cp)-?[0-9]{3,4}|ansi-?x3\.4-?19(?:68|86)"
    r"|iso-?646-us|macroman|mac-?roman|koi8-?[ru]|gb2312|gbk|gb18030|big5|euc-?(?:jp|kr)"
    r"|shift-?jis|sjis|iso-?2022-?(?:jp|kr)"
).fullmatch
_WIDE: Final = re.compile(r"utf-?(?:16|32)").match


class _Encoding(NamedTuple):
    """The encoding of a body: compressed or not, and its charset unless that is surely UTF-8."""

    is_gzip: bool
    charset: str | None


def unpacked(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """
    Return the body without its content encoding, never decompressing more than allowed.

    Raises:
        Refused: `too_large`, `unsupported_encoding` or `undecodable`.
    """
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    if encoding is None:
        return body
    is_gzip, charset = _encoding(encoding)
    if is_gzip:
        try:
            body = _gunzip(body, max_bytes)
        except zlib.error:
            raise Refused(Reason.UNDECODABLE, "the body is not gzip") from None
    return body if charset is None else _as_utf8(body, charset, max_bytes)


def leaves_as_it_is(encoding: str) -> bool:
    """Return whether a body with this content encoding is surely JSON in UTF-8 already."""
    return encoding.strip().lower() in _AS_IT_IS


@lru_cache(maxsize=64)
def _encoding(text: str) -> _Encoding:
    """
    Return the compression and the charset that a content encoding names.

    Raises:
        Refused: `unsupported_encoding`.
    """
    is_gzip, charset = False, None
    for word in re.split("[,:;]", text.lower()):
        name = word.strip().removeprefix("charset=").replace("_", "-")
        if name in _GZIP and not is_gzip:
            is_gzip = True
        elif name not in _AS_IT_IS:
            if not _CHARSET(name):
                raise Refused(
                    Reason.UNSUPPORTED_ENCODING,
                    "property content_encoding must be gzip, identity or a charset",
                )
            charset = name
    return _Encoding(is_gzip, charset)


def _as_utf8(body: bytes, charset: str, max_bytes: int) -> bytes:
    """Return a text in UTF-8: unchanged if it already is UTF-8, whatever charset it claims."""
    # The charsets of ISO 2022 are ASCII with escapes, which no JSON holds.
    if not _WIDE(charset) and b"\x1b" not in body:
        try:
            body.decode()
        except UnicodeDecodeError:
            pass
        else:
            return body
    try:
        text = body.decode(charset.replace("windows-", "cp")).removeprefix("\ufeff").encode()
    except (LookupError, UnicodeError):
        raise Refused(Reason.UNDECODABLE, "the body is not of its charset") from None
    if len(text) > max_bytes:
        raise _too_large(max_bytes)
    return text


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    """
    Decompress every member of a gzip file (RFC 1952, 2.2) until the limit is exceeded.

    In windows, because each member returns a copy of the bytes after it: a body of empty
    members would be copied once for each of them.
    """
    whole = bytearray()
    member = zlib.decompressobj(wbits=31)
    position = 0
    while position < len(body):
        if member.eof:
            member = zlib.decompressobj(wbits=31)
        window = body[position : position + _GZIP_WINDOW]
        whole += member.decompress(window, max_bytes + 1 - len(whole))
        if len(whole) > max_bytes:
            raise _too_large(max_bytes)
        if len(whole) > max(_GZIP_MAY_UNPACK_TO, _MAX_GZIP_RATIO * len(body)):
            raise Refused(
                Reason.TOO_LARGE, f"unpacked the body is more than {_MAX_GZIP_RATIO} times as large"
            )
        position += len(window) - len(member.unused_data)
    if body and not member.eof:
        raise Refused(Reason.UNDECODABLE, "the gzip body is cut short")
    return bytes(whole)


def _too_large(max_bytes: int) -> Refused:
    return Refused(Reason.TOO_LARGE, f"the body is larger than {max_bytes} bytes")
