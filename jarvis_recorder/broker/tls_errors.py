"""The meaning of a failed TLS handshake: its fix, and whether waiting helps."""

import asyncio
import ssl
from typing import Final

from yarl import URL

from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError, RecorderError

_VERDICT_SECONDS: Final = 1.0
_TLS_PORT: Final = 5671

# OpenSSL's X509_V_ERR_…
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAME: Final = (62, 63, 64)

_PASSING: Final[dict[int | str, str]] = {
    _EXPIRED: "the broker's certificate has expired: renew it on the broker",
    _NOT_YET_VALID: "the broker's certificate is not valid yet: is this machine's clock right?",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired: renew cert_file",
}

_LASTING: Final = {
    "WRONG_VERSION_NUMBER": "no TLS is spoken at that port: RabbitMQ's TLS port is mostly 5671",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker wants a client certificate: set cert_file "
    "and key_file",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker ends the handshake: does it want a client "
    "certificate? Then set cert_file and key_file",
    "TLSV1_ALERT_UNKNOWN_CA": "the broker does not know the authority of the client certificate: "
    "set cert_file to one that it trusts",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the broker does not accept the client certificate: set "
    "cert_file to one that it trusts",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the broker does not accept the client certificate: set "
    "cert_file to one that it trusts",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the broker speaks no TLS version that is still safe: let it "
    "speak TLS 1.2 or 1.3",
    "UNSUPPORTED_PROTOCOL": "the broker speaks no TLS version that is still safe: let it speak "
    "TLS 1.2 or 1.3",
}


def tls_failure(error: BaseException, where: str) -> RecorderError | None:
    """
    Return the exception to raise for an error caused by TLS, None for any other error.

    A certificate that is expired or not yet valid can be replaced while the recorder waits: the
    broker's without a change here, and our own files are read again for each attempt. So this
    is `BrokerUnavailable`. Anything that an operator has to fix is `ConfigurationError`.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    if cause is None:
        return None
    code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
    if passing := _PASSING.get(code) or _PASSING.get(cause.reason or ""):
        return BrokerUnavailable(f"TLS: {passing}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ConfigurationError(f"{where}: TLS: the broker's certificate is {_doubt(cause)}")
    if meaning := _LASTING.get(cause.reason or ""):
        return ConfigurationError(f"{where}: TLS: {meaning}")
    return BrokerUnavailable(f"TLS: {cause.reason or 'the handshake was not finished'}")


def _doubt(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _OTHER_NAME:
        return (
            "for another host name: write the one it is for into the URL, or give the broker one "
            "for this host"
        )
    return f"not trusted ({error.verify_message}): set ca_file to the authority that signed it"


async def late_refusal(url: URL, context: ssl.SSLContext) -> ssl.SSLError | None:
    """
    Return the TLS alert that the broker sends right after the handshake, None if none comes.

    In TLS 1.3 a broker refuses a client certificate when the client considers the handshake
    done and already sends. Closing with unread bytes, the broker resets the connection, and
    its alert is mostly lost. So this connects and sends nothing.
    """
    try:
        async with asyncio.timeout(_VERDICT_SECONDS):
            reader, writer = await asyncio.open_connection(
                url.host, url.port or _TLS_PORT, ssl=context
            )
            try:
                await reader.read(1)
            finally:
                writer.transport.abort()
    except ssl.SSLError as error:
        return error
    except OSError:
        return None
    return None
