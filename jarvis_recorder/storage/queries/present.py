"""The boundary between present and future times."""

from datetime import datetime

from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import FUTURE, UNSET
from jarvis_recorder.wire.times import LATEST, to_datetime


def end_of_present(clock: Clock) -> datetime:
    """
    Return the default end of a list.

    A record that a wrong clock dated years ahead would otherwise lead every list until then; a
    request with a later end still shows it. If this clock was never set, nothing is hidden.
    """
    now = clock()
    return to_datetime(LATEST if now < UNSET else min(now + FUTURE, LATEST))
