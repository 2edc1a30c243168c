"""
The property `content_encoding`, and the body without it.

Publishers put a compression there (RFC 9110, 8.4; gzip and deflate are supported) and the charset
of a text: kombu sends `utf-8` with all its JSON, Spring `UTF-8`, or `gzip, UTF-8` if it
compresses. JSON is UTF-8 whatever they say (RFC 8259, 8.1); the charset is used only for a body
that is not. No JSON begins as a compressed body or one of UTF-16 does, so these need no property:
kombu names its compression in a header of its own.
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
_PACKINGS: Final = frozenset(("gzip", "x-gzip", "deflate"))
_GZIP_MAGIC: Final = b"\x1f\x8b"
# RFC 1950, 2.2: the method deflate, a window of 2^8 to 2^15 bytes, and a check of both bytes.
_ZLIB_HEADERS: Final = (
    bytes((window << 4 | 8, flags))
    for window in range(8)
    for flags in range(256)
    if not ((window << 4 | 8) << 8 | flags) % 31
)
_MAGIC: Final = frozenset((_GZIP_MAGIC, *_ZLIB_HEADERS))
"""The first two bytes of a compressed body."""
ANY_PACKING: Final = 47
"""The `wbits` by which zlib reads gzip and zlib."""
# A stream without a header (RFC 1951), which .NET's `DeflateStream` and Go's `compress/flate` write.
_RAW_PACKING: Final = -15
# AMQP 1.0, 1.6.19 to 1.6.20 and 3.2.8: a section `amqp-value` with a binary or a string. RabbitMQ
# passes it on as it is.
_AMQP_VALUE: Final = b"\0\x53\x77"
_LENGTH_BYTES: Final = {0xA0: 1, 0xA1: 1, 0xB0: 4, 0xB1: 4}
_NO_UTF8: Final = re.compile(
    rb"(?P<utf_32>\xff\xfe\0\0|\0\0\xfe\xff)|(?P<utf_16>\xff\xfe|\xfe\xff)|(?P<utf_32_be>\0\0\0[\t-~])"
    rb"|(?P<utf_16_be>\0[\t-~])|(?P<utf_32_le>[\t-~]\0\0\0)|(?P<utf_16_le>[\t-~]\0)"
).match
"""
The first bytes of a JSON text in units wider than a byte: a mark, or a first character in ASCII.

A group has the name of a charset.
"""
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
_WIDE: Final = re.compile(r"utf[-_]?(?:16|32)").match


class _Encoding(NamedTuple):
    """The encoding of a body: compressed or not, and its charset unless that is surely UTF-8."""

    is_packed: bool
    charset: str | None


def unpacked(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """
    Return the body without its content encoding, never decompressing more than allowed.

    Raises:
        Refused: `too_large`, `unsupported_encoding` or `undecodable`.
    """
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    body = _of_amqp_value(body)
    is_packed, charset = (False, None) if encoding is None else _encoding(encoding)
    if is_packed or is_packed_by_itself(body):
        is_raw = not is_packed_by_itself(body) and "deflate" in (encoding or "").lower()
        packing = _RAW_PACKING if is_raw else ANY_PACKING
        try:
            body = _decompressed(body, max_bytes, packing)
        except zlib.error:
            raise Refused(Reason.UNDECODABLE, "the body is neither gzip nor deflate") from None
    if found := _NO_UTF8(body):
        charset = found.lastgroup
    return body if charset is None else _as_utf8(body, charset, max_bytes)


def needs_unpacking(body: bytes) -> bool:
    """Return whether a body is no UTF-8 by its first bytes, whatever its properties say."""
    return is_packed_by_itself(body) or _NO_UTF8(body) is not None


def is_packed_by_itself(body: bytes) -> bool:
    """Return whether a body begins as gzip or zlib, and so is unpacked whatever its properties say."""
    return body[:2] in _MAGIC


def is_wide(body: bytes) -> bool:
    """Return whether a text is in units wider than a byte, by its first bytes."""
    return _NO_UTF8(body) is not None


def may_be_packed(header: bytes, body: bytes) -> bool:
    """
    Return whether a delivery's body may be unpacked, by its first bytes or by its properties.

    A deflated stream without a header may begin with any byte, and a value of AMQP 1.0 hold one
    that is compressed.
    """
    return is_packed_by_itself(body) or body.startswith(_AMQP_VALUE) or b"deflate" in header.lower()


def _of_amqp_value(body: bytes) -> bytes:
    """Return the value of an AMQP 1.0 section `amqp-value`, any other body as it is."""
    if not body.startswith(_AMQP_VALUE):
        return body
    at = len(_AMQP_VALUE) + 1
    begin = at + _LENGTH_BYTES.get(body[at - 1] if len(body) >= at else 0, 0)
    length = int.from_bytes(body[at:begin], "big")
    return body[begin : begin + length] if at < begin <= len(body) - length else body


@lru_cache(maxsize=256)
def charset_of(content_type: str) -> str | None:
    """Return the parameter `charset` of a media type if it names one other than UTF-8."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower().replace("_", "-")
        if name.strip().lower() == "charset" and charset not in _AS_IT_IS and _CHARSET(charset):
            return charset
    return None


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
    is_packed, charset = False, None
    for word in re.split("[,:;]", text.lower()):
        name = word.strip().removeprefix("charset=").strip('"').replace("_", "-")
        if name in _PACKINGS and not is_packed:
            is_packed = True
        elif name not in _AS_IT_IS:
            if not _CHARSET(name):
                raise Refused(
                    Reason.UNSUPPORTED_ENCODING,
                    "property content_encoding must be gzip, deflate, identity or a charset",
                )
            charset = name
    return _Encoding(is_packed, charset)


def _as_utf8(body: bytes, charset: str, max_bytes: int) -> bytes:
    """Return a text in UTF-8: unchanged if it already is UTF-8, whatever charset it claims."""
    # NULs are valid UTF-8, and the charsets of ISO 2022 are ASCII with escapes: no JSON holds either.
    may_be_utf8 = not _NO_UTF8(body) if _WIDE(charset) else b"\x1b" not in body
    if may_be_utf8:
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


def _decompressed(body: bytes, max_bytes: int, packing: int) -> bytes:
    """
    Decompress a zlib stream, or every member of a gzip file (RFC 1952, 2.2), up to the limit.

    In windows, because each member returns a copy of the bytes after it: a body of empty
    members would be copied once for each of them.
    """
    whole = bytearray()
    member = zlib.decompressobj(wbits=packing)
    position = 0
    while position < len(body):
        if member.eof:
            member = zlib.decompressobj(wbits=packing)
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
        raise Refused(Reason.UNDECODABLE, "the compressed body is cut short")
    return bytes(whole)


def _too_large(max_bytes: int) -> Refused:
    return Refused(Reason.TOO_LARGE, f"the body is larger than {max_bytes} bytes")
