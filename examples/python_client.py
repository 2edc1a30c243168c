"""
Publish an event and read the latest ones, with the recorder's own client.

    python examples/python_client.py [amqp://user:password@host:5672/]
"""

import asyncio
import os
import sys

from jarvis_recorder.client import RecorderClient
from jarvis_recorder.errors import RecorderError


async def main(url: str) -> None:
    async with RecorderClient(url, app_id="example") as client:
        # Returns once the broker has the event on disk: from then on it will be recorded.
        message_id = await client.publish_event(
            type="alert",
            severity="warning",
            source="monitor",
            node="pve1",
            summary="cpu of pve1 above 90 %",
            details={"metric": "cpu", "value": 0.93},
        )
        print("published", message_id)

        page = await client.events.list(node="pve1", limit=5)
        for event in page.events:
            print(event.timestamp, event.severity, event.summary)


default = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/")
try:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else default))
except RecorderError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
