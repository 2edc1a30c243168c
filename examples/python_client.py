"""Publish an event, ask for it, and set a preference: with the recorder's own client."""

import asyncio
import sys

from jarvis_recorder.client import RecorderClient


async def main(url: str) -> None:
    async with RecorderClient(url) as client:
        await client.publish_event(
            type="alert",
            severity="critical",
            source="monitor",
            node="pve1",
            summary="pve1 changed from online to offline",
        )
        async for event in client.events.iter(node="pve1"):
            print(event.timestamp, event.severity, event.summary)
        preference = await client.preferences.set(key="assistant.tone", value="calm")
        print(preference.preference.key, "is at version", preference.preference.version)


asyncio.run(main(sys.argv[1]))
