"""A database of months: hundreds of thousands of events of three clusters."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.support import files

NODES: Final = 15
_SECONDS: Final = 30 * 86_400

# One of a hundred is an alert; a node goes down every few hours, and comes back.
_FILL: Final = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :events - 1),
timed AS (
    SELECT i, :until - CAST((:events - i) * (:seconds * 1000000.0 / :events) AS INTEGER) AS at,
           i % :nodes AS node, i % 3 AS cluster FROM n
)
INSERT INTO events (message_id, timestamp, stamped, type, severity, source, node, cluster, summary,
                    details, recorded_at)
SELECT 'month-' || i, at, 0,
    CASE WHEN i % 2000 = 7 THEN 'alert' WHEN i % 2000 = 47 THEN 'status'
         WHEN i % 100 = 1 THEN 'alert' WHEN i % 10 < 8 THEN 'metric' ELSE 'status' END,
    CASE WHEN i % 2000 = 7 THEN 'critical' WHEN i % 100 = 1 THEN 'warning' ELSE 'info' END,
    'monitor',
    CASE WHEN i % 2000 IN (7, 47) THEN 'node-' || (i / 2000 % :nodes) ELSE 'node-' || node END,
    'cluster-' || CASE WHEN i % 2000 IN (7, 47) THEN i / 2000 % :nodes % 3 ELSE node % 3 END,
    CASE WHEN i % 2000 = 7
         THEN '[Monitor] NODE_DOWN: node-' || (i / 2000 % :nodes) || ' changed from online to offline'
         WHEN i % 2000 = 47
         THEN '[Monitor] NODE_UP: node-' || (i / 2000 % :nodes) || ' changed from offline to online'
         WHEN i % 100 = 1
         THEN '[Monitor] THRESHOLD: disk on node-' || node || ' at ' || (85 + i % 15) || ' percent'
         WHEN i % 10 < 8 THEN 'cpu 0.' || (i % 97)
         ELSE '[Monitor] backup of guest ' || (100 + i % 400) || ' is done' END,
    CASE WHEN i % 10 < 8 THEN '{"cpu": 0.' || (i % 97) || '}' END,
    at
FROM timed
"""


def make(path: Path, events: int, seconds: int = _SECONDS) -> None:
    """
    Make a database with events up to now, evenly over the time.

    Of `NODES` nodes in three clusters: four of five events are metrics, one of a hundred an alert
    of a threshold, two of two thousand a node that goes down and comes back.
    """
    files.make(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            _FILL,
            {
                "events": events,
                "nodes": NODES,
                "seconds": seconds,
                "until": time.time_ns() // 1_000,
            },
        )
