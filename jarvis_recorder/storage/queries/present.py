"""Where the future begins, in which nothing is in force."""

from datetime import datetime

from jarvis_recorder.ports import Clock
from jarvis_recorder.retention_policy import FUTURE, UNSET
from jarvis_recorder.wire.times import LATEST, to_datetime


def end_of_present(clock: Clock) -> datetime:
    """
    Return before which moment lies what a list shows that names no end.

    What a wrong clock has dated years ahead would be first in every list until then. It is shown to
    whoever names an end that lies behind it. A clock that is not set hides nothing.
    """
    now = clock()
    return to_datetime(LATEST if now < UNSET else min(now + FUTURE, LATEST))
