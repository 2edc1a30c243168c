"""Peer b: pika and sqlite3; a batch is committed when it is full or the queue is idle."""

import json

import pika
from rows import Row, connect, job, row

_IDLE_SECONDS = 0.02


def main() -> None:
    work = job()
    database = connect(work)
    channel = pika.BlockingConnection(pika.URLParameters(work.url)).channel()
    channel.basic_qos(prefetch_count=work.prefetch)
    rows: list[Row] = []
    last = 0

    def commit() -> None:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(work.insert, rows)
        database.execute("COMMIT")
        channel.basic_ack(last, multiple=True)
        rows.clear()

    for method, properties, body in channel.consume(work.queue, inactivity_timeout=_IDLE_SECONDS):
        if method is not None:
            rows.append(row(properties.message_id, json.loads(body)))
            last = method.delivery_tag
        if rows and (method is None or len(rows) >= work.batch):
            commit()


main()
