"""
The client of a recorder, for the monitor, the chat service and dashboards in Python.

    import asyncio
    from jarvis_recorder.client import RecorderClient

    async def main() -> None:
        async with RecorderClient("amqp://guest:guest@localhost:5672/") as client:
            await client.publish_event(
                type="alert", severity="critical", source="monitor",
                node="pve1", summary="pve1 changed from online to offline",
            )
            async for event in client.events.iter(severity="critical"):
                print(event.timestamp, event.node, event.summary)
            async for record in client.tail(severity="warning"):
                print(record.body)

    asyncio.run(main())
"""

from jarvis_recorder.client.decoding import (
    EventRecorded,
    EventReopened,
    EventResolved,
    IncidentChanged,
    Notification,
    PreferenceChanged,
    PreferenceDeleted,
)
from jarvis_recorder.client.recorder_client import RecorderClient
from jarvis_recorder.client.records import new_event, new_snapshot, new_turn
from jarvis_recorder.net.tls import Tls

__all__ = [
    "EventRecorded",
    "EventReopened",
    "EventResolved",
    "IncidentChanged",
    "Notification",
    "PreferenceChanged",
    "PreferenceDeleted",
    "RecorderClient",
    "Tls",
    "new_event",
    "new_snapshot",
    "new_turn",
]
