"""Frames on their way to the socket, in their order and in writes of a bounded size."""

import asyncio
from types import SimpleNamespace

from jarvis_recorder.broker.frame_writer import FrameWriter
from jarvis_recorder.wire.amqp import frames

MIB = 1024 * 1024
FRAME_MAX = 128 * 1024


def a_writer():
    """Return a writer, and the queue of writes from which aiormq would take."""
    channel = SimpleNamespace(is_closed=False, write_queue=asyncio.Queue())
    link = SimpleNamespace(lost=asyncio.get_running_loop().create_future())
    return FrameWriter(link, channel), channel.write_queue, link.lost


async def test_a_large_message_is_written_in_parts_and_what_is_sent_meanwhile_comes_behind():
    writer, writes, _ = a_writer()
    large = frames.publication(1, b"key", b"", b"x" * (3 * MIB), FRAME_MAX)
    writer.send(*large)
    written = [await writes.get()]
    writer.send(b"an ack")
    drained = asyncio.ensure_future(writer.drained())

    while not drained.done():
        written[-1].drain()
        await asyncio.sleep(0)
        while not writes.empty():
            written.append(writes.get_nowait())

    assert b"".join(one.payload for one in written) == b"".join((*large, b"an ack"))
    assert max(len(one.payload) for one in written) < MIB
    assert len(written) > 3


async def test_frames_of_one_turn_are_written_together():
    writer, writes, _ = a_writer()
    for number in range(1_000):
        writer.send(frames.ack(1, number))

    await writer.finish()

    assert writes.qsize() == 1


async def test_no_part_follows_once_the_connection_is_lost():
    writer, writes, lost = a_writer()
    writer.send(*frames.publication(1, b"key", b"", b"x" * (3 * MIB), FRAME_MAX))
    await writes.get()

    lost.set_exception(ConnectionError())
    await writer.finish()

    assert writes.empty()
