"""Files for TLS, and what a URL may say: each mistake has its own line."""

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from jarvis_recorder.config.loading import load
from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.net import amqp_url
from jarvis_recorder.net.tls import Tls
from tests.support.secure_broker import Papers


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def pair(papers):
    return papers.issue("one", "one")


def test_a_context_checks_the_certificate_and_the_host_name(papers, pair):
    context = Tls(papers.ca_file, *pair).context()

    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_a_file_that_is_missing_is_named(tmp_path, name):
    with pytest.raises(ConfigurationError, match=rf"{name}: .*gone: cannot be read: No such file"):
        Tls(**{name: tmp_path / "gone"}).context()


def test_what_is_no_certificate_is_named(tmp_path, papers, pair):
    cert, key = pair
    (file := tmp_path / "file").write_text("no certificate")
    with pytest.raises(ConfigurationError, match=r"ca_file: .*: holds no certificate"):
        Tls(ca_file=file).context()
    with pytest.raises(ConfigurationError, match=r"cert_file: .*: no certificate in PEM"):
        Tls(cert_file=file, key_file=key).context()
    with pytest.raises(ConfigurationError, match="or no key in it: name the key in key_file"):
        Tls(cert_file=cert).context()
    with pytest.raises(ConfigurationError, match="key_file is set without cert_file"):
        Tls(key_file=key).context()


def test_a_key_of_another_certificate_is_named(papers, pair):
    _, other = papers.issue("two", "two")
    with pytest.raises(ConfigurationError, match=r"the key in .*two\.key belongs to another"):
        Tls(papers.ca_file, pair[0], other).context()


def test_an_encrypted_key_asks_for_nothing(tmp_path, papers, pair):
    """A passphrase asked for at a terminal would hold up a daemon."""
    key = load_pem_private_key(pair[1].read_bytes(), None)
    (file := tmp_path / "encrypted.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(ConfigurationError, match="is encrypted: name one without a passphrase"):
        Tls(papers.ca_file, pair[0], file).context()


def test_certificate_and_key_may_be_in_one_file(tmp_path, pair):
    (file := tmp_path / "both.pem").write_text("".join(part.read_text() for part in pair))

    assert Tls(cert_file=file).context()


def test_settings_name_the_files(tmp_path):
    settings = load({"broker.ca_file": str(tmp_path / "ca.pem")}, {}).settings

    assert settings.broker.tls == Tls(ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("no_verify_ssl=1", "a broker that is not checked may be anyone"),
        ("no_verify_ssl=0", "a broker that is not checked may be anyone"),
        ("verify=verify_none", "a broker that is not checked may be anyone"),
        ("cafile=/ca.pem", "takes no cafile: set ca_file"),
        ("certfile=/c.pem", "set cert_file"),
        ("keyfile=/k.pem", "set key_file"),
        ("heartbeat=5", "set broker.heartbeat"),
        ("timeout=5", "takes no timeout: leave it out"),
        ("auth=external&nonsense=1", "takes no nonsense"),
        ("auth=gssapi", "auth=plain or auth=external"),
        ("%1b[2J=1", "takes no its option"),
    ],
)
def test_an_option_that_weakens_or_does_nothing_is_refused(query, said):
    with pytest.raises(ConfigurationError) as caught:
        load({"broker.url": f"amqps://u:geheim@broker/?{query}"}, {})

    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("url", ["amqp://u:ge?heim@broker/", "amqp://u:1?heim@broker/"])
def test_a_password_that_tears_the_url_apart_is_not_shown(url):
    with pytest.raises(ConfigurationError) as caught:
        load({"broker.url": url}, {})

    assert "heim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("amqp://broker/", True),
        ("amqp://192.168.1.5/", True),
        ("amqp://[2001:db8::1]/", True),
        ("amqps://broker/", False),
        ("amqp://localhost/", False),
        ("amqp://127.0.0.9/", False),
        ("amqp://[::1]/", False),
    ],
)
def test_plain_text_to_another_host_is_exposed(url, exposed):
    assert amqp_url.is_exposed(url) is exposed


@pytest.mark.parametrize(
    ("url", "by_certificate", "external"),
    [
        ("amqps://broker/", True, True),
        ("amqps://monitor@broker/", True, True),
        ("amqps://monitor:p@broker/", True, False),
        ("amqps://broker/?auth=plain", True, False),
        ("amqps://broker/", False, False),
    ],
)
def test_who_has_a_certificate_and_no_password_logs_in_by_it(url, by_certificate, external):
    found = amqp_url.authenticated(url, by_certificate=by_certificate)

    assert ("auth=external" in found) is external
