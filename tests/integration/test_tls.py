"""By TLS it records as without; whatever is wrong with a certificate is said in one line."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from jarvis_recorder.broker.provisioning.definitions import definitions, password_hash
from jarvis_recorder.client import RecorderClient, Tls
from jarvis_recorder.errors import BrokerUnavailable, ConfigurationError
from tests.support.recorder import wait_until
from tests.support.secure_broker import LONG_AGO, Papers, secure_node

pytestmark = pytest.mark.broker

PASSWORD = "p"


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def definitions_file(tmp_path_factory):
    import json

    hashes = {"recorder": password_hash(PASSWORD, b"salt")}
    file = tmp_path_factory.mktemp("definitions") / "definitions.json"
    file.write_text(json.dumps(definitions("/", hashes)))
    return file


@pytest.fixture(scope="module")
def node(papers, definitions_file):
    """A broker that takes passwords and certificates."""
    with secure_node(papers, definitions_file, strict=False) as node:
        yield node


@pytest.fixture(scope="module")
def strict_node(papers, definitions_file):
    """A broker that talks to nobody without a certificate."""
    with secure_node(papers, definitions_file, strict=True) as node:
        yield node


def tls_settings(papers, *certificate):
    names = ("broker.ca_file", "broker.cert_file", "broker.key_file")
    files = (papers.ca_file, *certificate)
    return [f"{name}={file}" for name, file in zip(names, files, strict=False)]


async def publish_one(node, papers):
    """Publish as the monitor, who has no password and shows a certificate."""
    tls = Tls(papers.ca_file, *papers.issue("monitor", "monitor"))
    async with RecorderClient(f"amqps://localhost:{node.tls_port}/", tls=tls) as monitor:
        await monitor.publish_event(type="status", source="monitor", summary="fine")


async def test_tls_with_a_password_records(node, papers, start_recorder):
    recorder = start_recorder(
        f"amqps://recorder:{PASSWORD}@localhost:{node.tls_port}/", *tls_settings(papers)
    )
    recorder.wait_for("recording")
    await publish_one(node, papers)

    wait_until(lambda: recorder.count() == 1, "the event is recorded")
    assert recorder.logged("broker_connection_not_encrypted") == []


async def test_mutual_tls_records_and_answers(strict_node, papers, start_recorder):
    recorder = start_recorder(
        f"amqps://localhost:{strict_node.tls_port}/",
        *tls_settings(papers, *papers.issue("recorder", "recorder")),
    )
    recorder.wait_for("recording")
    recorder.wait_for("answering")
    await publish_one(strict_node, papers)
    wait_until(lambda: recorder.count() == 1, "the event is recorded")

    tls = Tls(papers.ca_file, *papers.issue("dashboard", "dashboard"))
    url = f"amqps://dashboard@localhost:{strict_node.tls_port}/"
    async with RecorderClient(url, tls=tls) as dashboard, dashboard.tail() as tail:
        assert [event.summary async for event in dashboard.events.iter()] == ["fine"]
        await publish_one(strict_node, papers)
        assert (await asyncio.wait_for(anext(tail), 10)).body.summary == "fine"


def test_plain_text_to_another_host_is_a_warning(start_recorder):
    recorder = start_recorder("amqp://recorder:geheim@192.0.2.1/")

    line = recorder.wait_for("broker_connection_not_encrypted")
    assert (line["level"], line["url"]) == ("warning", "amqp://recorder:***@192.0.2.1/")
    assert len(recorder.logged("broker_connection_not_encrypted")) == 1


def ends_with_78(recorder):
    """Return the one line that it says."""
    assert recorder.process.wait(20) == 78
    (text,) = [line["text"] for line in recorder.logged("text")]
    return text


async def test_another_authority_is_refused(node, tmp_path, start_recorder):
    recorder = start_recorder(
        f"amqps://recorder:{PASSWORD}@localhost:{node.tls_port}/",
        *tls_settings(Papers(tmp_path / "others")),
    )

    text = ends_with_78(recorder)
    assert f"amqps://recorder:***@localhost:{node.tls_port}/: TLS: the broker's certificate" in text
    assert "is not trusted" in text
    assert "set ca_file" in text


async def test_another_host_name_is_refused(node, papers, start_recorder):
    recorder = start_recorder(
        f"amqps://recorder:{PASSWORD}@127.0.0.1:{node.tls_port}/", *tls_settings(papers)
    )

    assert "is for another host name: write the one it is for" in ends_with_78(recorder)


async def test_without_a_client_certificate_a_strict_broker_refuses(
    strict_node, papers, start_recorder
):
    recorder = start_recorder(
        f"amqps://recorder:{PASSWORD}@localhost:{strict_node.tls_port}/", *tls_settings(papers)
    )

    assert "wants a client certificate: set cert_file and key_file" in ends_with_78(recorder)


async def test_a_client_certificate_of_another_authority_is_refused(strict_node, papers, tmp_path):
    foreign = Papers(tmp_path / "others").issue("recorder", "recorder")
    with pytest.raises(ConfigurationError, match=r"client certificate: set cert_file to one"):
        await enter(f"amqps://localhost:{strict_node.tls_port}/", Tls(papers.ca_file, *foreign))


async def test_an_expired_client_certificate_waits_for_a_new_one(strict_node, papers):
    tls = Tls(papers.ca_file, *papers.issue("expired", "monitor", until=LONG_AGO))
    with pytest.raises(BrokerUnavailable, match="client certificate has expired: renew"):
        await enter(f"amqps://localhost:{strict_node.tls_port}/", tls)


async def test_a_name_that_is_no_user_is_refused(strict_node, papers):
    tls = Tls(papers.ca_file, *papers.issue("stranger", "stranger"))
    with pytest.raises(ConfigurationError, match="no user by the name in the client certificate"):
        await enter(f"amqps://localhost:{strict_node.tls_port}/", tls)


async def enter(url, tls):
    async with RecorderClient(url, tls=tls):
        pass


@contextlib.asynccontextmanager
async def tls_front(node, certificate):
    """Speak TLS with this certificate in front of a node; the certificate may be changed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)

    async def pass_on(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", node.port)
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], context
    finally:
        server.close()


async def test_an_expired_certificate_is_refused_until_it_is_renewed(node, papers, start_recorder):
    """It is renewed on the broker: nobody should have to start the recorder again as well."""
    expired = papers.issue("front-expired", "localhost", until=LONG_AGO)
    async with tls_front(node, expired) as (port, context):
        recorder = start_recorder(
            f"amqps://recorder:{PASSWORD}@localhost:{port}/", *tls_settings(papers)
        )
        line = await asyncio.to_thread(recorder.wait_for, "broker_unavailable")
        assert "the broker's certificate has expired: renew it on the broker" in line["error"]
        with pytest.raises(BrokerUnavailable, match="has expired"):
            await enter(f"amqps://localhost:{port}/", Tls(papers.ca_file))

        context.load_cert_chain(
            *papers.issue("front", "localhost", until=datetime.now(UTC) + timedelta(days=1))
        )
        await asyncio.to_thread(recorder.wait_for, "recording")
        assert await asyncio.to_thread(recorder.stop) == 0


async def test_a_port_without_tls_is_refused(node, papers):
    with pytest.raises(ConfigurationError, match="no TLS is spoken at that port"):
        await enter(f"amqps://recorder:{PASSWORD}@localhost:{node.port}/", Tls(papers.ca_file))


async def test_a_port_with_tls_alone_is_refused(node):
    with pytest.raises(ConfigurationError, match="speaks TLS: write amqps://"):
        await enter(f"amqp://recorder:{PASSWORD}@localhost:{node.tls_port}/", Tls())


async def test_files_without_tls_in_the_url_are_refused(node, papers):
    with pytest.raises(ConfigurationError, match="write amqps://"):
        await enter(f"amqp://recorder:{PASSWORD}@localhost:{node.port}/", Tls(papers.ca_file))
