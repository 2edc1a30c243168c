"""Frames of our own making, compared with those that pamqp makes."""

import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from jarvis_recorder.broker.publisher import RawProperties
from jarvis_recorder.wire.amqp import frames

CHANNEL = 7
FRAME_MAX = 4_096
A_WHOLE_FRAME = FRAME_MAX - 8


@pytest.mark.parametrize("key", ["", "amq.rabbitmq.reply-to.g1h2", "schlüssel", "k" * 255])
@pytest.mark.parametrize(("exchange", "mandatory"), [("", False), ("jarvis.rpc", True)])
@pytest.mark.parametrize("size", [0, 1, A_WHOLE_FRAME, A_WHOLE_FRAME + 1, 3 * A_WHOLE_FRAME])
def test_a_publication_is_framed_as_pamqp_frames_it(key, size, exchange, mandatory):
    properties, body = b"\x80\x00\x10application/json", b"x" * size
    pieces = [body[at : at + A_WHOLE_FRAME] for at in range(0, size, A_WHOLE_FRAME)]
    expected = [
        commands.Basic.Publish(exchange=exchange, routing_key=key, mandatory=mandatory),
        ContentHeader(properties=RawProperties(properties), body_size=size),
        *(ContentBody(piece) for piece in pieces),
    ]

    made = frames.publication(
        CHANNEL,
        key.encode(),
        properties,
        body,
        FRAME_MAX,
        exchange=exchange.encode(),
        mandatory=mandatory,
    )

    assert b"".join(made) == b"".join(marshal(frame, CHANNEL) for frame in expected)


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("tag", [0, 1, 2**63 - 1])
def test_an_ack_is_framed_as_pamqp_frames_it(tag, multiple):
    expected = marshal(commands.Basic.Ack(tag, multiple), CHANNEL)

    assert frames.ack(CHANNEL, tag, multiple=multiple) == expected
