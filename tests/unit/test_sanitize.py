"""No recorded text acts on the terminal that shows it."""

import json
import unicodedata
from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jarvis_recorder.cli.output.cluster import show_snapshot, show_snapshots, show_stats
from jarvis_recorder.cli.output.conversations import show_found, show_sessions, show_turns
from jarvis_recorder.cli.output.events import EventTable, show_event
from jarvis_recorder.cli.output.preferences import show_preference, show_preferences
from jarvis_recorder.cli.output.sanitize import sanitize, sanitize_json
from jarvis_recorder.cli.output.timeline import show_timeline
from jarvis_recorder.wire.rpc import results
from tests.support.screens import Seen

NASTY = ["\x1b[2J", "\x1b]0;title\x07", "\u202egnp.exe", "a\nb\r\nc", "\x9b31m", "\u2028", "\x7f",
         "[red]x[/red]", ":smile:", "\ud800", "\U000e0041", "🖥️", "\u200b", "\t", "日本語"]  # fmt: skip
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30))
small_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
moments = st.datetimes(timezones=st.just(UTC))
fields = {"type": texts, "severity": texts, "source": texts, "node": texts, "summary": texts}
stored_events = st.builds(
    results.StoredEvent, timestamp=moments, recorded_at=moments, resolved_at=moments,
    message_id=texts, resolved_by=texts, details=small_json,
    extra=st.dictionaries(texts, small_json, max_size=2), omitted=st.lists(texts, max_size=2),
    **fields,
)  # fmt: skip
stored_turns = st.builds(
    results.StoredTurn, timestamp=moments, recorded_at=moments, session_id=texts, role=texts,
    content=texts, model=texts, tool_calls=small_json, extra=st.none(), message_id=texts,
    cost_usd=st.decimals(0, 9, places=3), omitted=st.lists(texts, max_size=2),
)  # fmt: skip
stored_snapshots = st.builds(
    results.StoredSnapshot, cluster=texts, timestamp=moments, recorded_at=moments,
    message_id=texts, size_bytes=st.integers(0, 2**63), extra=st.none(),
    snapshot=st.dictionaries(
        texts, small_json | st.lists(st.dictionaries(texts, small_json, max_size=3)), max_size=3
    ),
)  # fmt: skip
stored_preferences = st.builds(
    results.Preference, key=texts, value=texts, updated_at=moments, updated_by=texts
)
ANSWERS = {
    "events": (EventTable(), st.lists(stored_events, min_size=1, max_size=3)),
    "event": (show_event, st.builds(results.OneEvent, stored_events)),
    "turns": (show_turns, st.lists(stored_turns, min_size=1, max_size=3)),
    "found": (
        show_found,
        st.lists(st.builds(
            results.FoundTurn, stored_turns, texts,
            st.lists(st.tuples(st.integers(-2, 40), st.integers(-2, 40)), max_size=2),
        ), max_size=2),
    ),
    "sessions": (
        show_sessions,
        st.lists(st.builds(results.Session, session_id=texts, first_at=moments, last_at=moments)),
    ),
    "snapshot": (show_snapshot, st.builds(results.OneSnapshot, stored_snapshots)),
    "snapshots": (
        show_snapshots,
        st.lists(st.builds(results.SnapshotHead, cluster=texts, timestamp=moments,
                           size_bytes=st.integers(0, 2**60))),
    ),
    "preferences": (show_preferences, st.lists(stored_preferences)),
    "preference": (show_preference, st.builds(results.OnePreference, stored_preferences)),
    "timeline": (
        show_timeline,
        st.builds(
            results.Timeline, moments, moments, moments, st.none() | stored_snapshots,
            st.lists(stored_events, max_size=2), st.lists(stored_turns, max_size=2), st.booleans(),
        ),
    ),
    "stats": (
        show_stats,
        st.builds(
            results.Stats,
            st.builds(results.Holdings, *[st.builds(results.Extent, oldest=moments | st.none(),
                                                    newest=moments)] * 3,
                      database_bytes=st.integers(0), schema_version=texts),
            st.builds(results.Activity, version=texts, state=texts, started_at=moments),
        ),
    ),
}  # fmt: skip


def acts_on_a_terminal(text):
    return {
        character
        for character in text
        if character != "\n"
        and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs")
        and character not in "\u200c\u200d"
    }


@pytest.mark.long
@pytest.mark.parametrize("name", ANSWERS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), width=st.sampled_from([0, 40, 80, 200]))
def test_nothing_that_was_recorded_acts_on_the_terminal(name, data, width):
    view, strategy = ANSWERS[name]
    screen = Seen(width)

    view(screen, data.draw(strategy))

    assert acts_on_a_terminal(screen.raw + screen.notes) == set()


@given(st.text() | st.sampled_from(NASTY))
def test_harmless_text_keeps_its_length_and_is_harmless(text):
    shown = sanitize(text)

    assert len(shown) == len(text)
    assert acts_on_a_terminal(shown) == set()
    assert "\n" not in shown
    assert sanitize(shown) == shown


def test_what_is_hidden_is_seen():
    assert sanitize("\x1b[2J\n\u202eexe\x7f\x9b") == "␛[2J↵�exe␡�"
    assert sanitize("Wie läuft pve? 🖥️ 👩‍💻") == "Wie läuft pve? 🖥️ 👩‍💻"


@given(small_json, st.sampled_from(["utf-8", "ascii"]))
def test_harmless_json_is_the_same_json(value, encoding):
    text = json.dumps(value, ensure_ascii=False)

    written = sanitize_json(text, encoding)

    assert json.loads(written) == value
    assert acts_on_a_terminal(written) == set()
    written.encode(encoding)
