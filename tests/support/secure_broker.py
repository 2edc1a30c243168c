"""A node with TLS and its own users, and the certificates for it."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import trustme

from jarvis_recorder.demo.node import PrivateNode, free_ports

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Papers:
    """Certificates of one authority, as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(exist_ok=True)
        self.authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *hosts: str, until: datetime | None = None) -> tuple[Path, Path]:
        """Return the files of a certificate for these hosts; the first is also its common name."""
        issued = self.authority.issue_cert(*hosts, common_name=hosts[0], not_after=until)
        cert, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return cert, key


@contextlib.contextmanager
def secure_node(papers: Papers, definitions: Path, *, strict: bool) -> Iterator[PrivateNode]:
    """
    Run a node with a TLS listener at `node.tls_port`, its certificate for `localhost` alone.

    A strict one requires a client certificate, whose common name is the user.
    """
    cert, key = papers.issue("broker", "localhost")
    directory = Path(tempfile.mkdtemp(prefix="jarvis-secure-"))
    (tls_port,) = free_ports(1)
    node = PrivateNode(
        directory,
        configuration=(
            f"load_definitions = {definitions}\n"
            f"listeners.ssl.default = 127.0.0.1:{tls_port}\n"
            f"ssl_options.cacertfile = {papers.ca_file}\n"
            f"ssl_options.certfile = {cert}\n"
            f"ssl_options.keyfile = {key}\n"
            "ssl_options.verify = verify_peer\n"
            f"ssl_options.fail_if_no_peer_cert = {str(strict).lower()}\n"
            "ssl_cert_login_from = common_name\n"
            "auth_mechanisms.1 = PLAIN\n"
            "auth_mechanisms.2 = EXTERNAL\n"
        ),
        plugins="rabbitmq_auth_mechanism_ssl",
    )
    node.tls_port = tls_port
    try:
        yield node.start()
    finally:
        node.kill()
        shutil.rmtree(directory, ignore_errors=True)
