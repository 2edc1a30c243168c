"""The list of conversations, what their turns say of them, and their usage by cluster."""

from decimal import Decimal
from random import Random

import pytest

from jarvis_recorder.storage.queries import sessions
from jarvis_recorder.wire.rpc.params import (
    ListPreferences,
    ListSessions,
    ReportUsage,
    SetPreference,
)
from jarvis_recorder.wire.rpc.results import Session
from tests.support.archive import ask
from tests.support.stored import TURNS, all_pages, at, put, turn


async def only(store):
    (session,) = (await ask(store, ListSessions())).sessions
    return session


async def test_a_conversation_has_a_title_models_tools_and_its_cost(store):
    await put(
        store,
        turn(0, role="system", content="You are JARVIS."),
        turn(1, content="  Why is\n\tpve1 down?  "),
        turn(2, role="assistant", model="qwen", cost_usd="0.10", tool_calls=[
            {"name": "status"}, {"function": {"name": "wake"}}, {"toolUse": {"name": "ping"}}, 5,
        ]),
        turn(3, role="tool", content="offline", tool_calls={"name": "ping"}),
        turn(4, role="assistant", model="opus", cost_usd="0.0000000000000000001"),
        turn(5, content="Thanks."),
        topic=TURNS,
    )  # fmt: skip

    assert await only(store) == Session(
        "s", at(0), at(5), 6, "Why is pve1 down?", ["opus", "qwen"], ["ping", "status", "wake"],
        Decimal("0.1000000000000000001"),
    )  # fmt: skip


async def test_what_was_said_after_the_end_is_no_title(store):
    said = [turn(0, role="assistant", content="Hello."), turn(2, content="said after the end")]
    await put(store, *said, topic=TURNS)

    (session,) = (await ask(store, ListSessions(until=at(1)))).sessions

    assert (session.turns, session.title) == (1, None)


async def test_a_title_is_cut_between_words(store):
    await put(store, turn(0, content="lange Wörter " * 40), topic=TURNS)

    title = (await only(store)).title

    assert title.endswith("lange Wörter…")
    assert len(title) <= 120


@pytest.mark.parametrize(
    "calls", ["none", 5, [], [[]], {"name": 5}, [{"function": 5}], "é" * 9_000]
)
async def test_whatever_was_called_a_conversation_without_a_user_has_neither_title_nor_tools(
    store, calls
):
    await put(store, turn(0, role="assistant", tool_calls=calls), topic=TURNS)

    assert await only(store) == Session("s", at(0), at(0), 1)


async def test_of_a_long_conversation_the_newest_turns_are_read_and_no_cost_is_made_up(
    store, monkeypatch
):
    monkeypatch.setattr(sessions, "MOST_ADDED_TURNS", 5)
    monkeypatch.setattr(sessions, "NEWEST_TURNS", 3)
    await put(
        store,
        *(turn(number, model=f"m{number}", cost_usd="1") for number in range(9)),
        *(turn(number, session_id="short", cost_usd="1") for number in range(5)),
        topic=TURNS,
    )

    long, short = (await ask(store, ListSessions())).sessions

    assert (long.turns, long.models, long.cost_usd) == (9, ["m6", "m7", "m8"], None)
    assert (long.title, short.turns, short.cost_usd) == ("hello", 5, 5)


async def test_a_list_is_as_it_was_at_the_end_of_the_time(store):
    await put(store, turn(1), turn(9), turn(5, session_id="other"), topic=TURNS)

    asked = await ask(store, ListSessions(since=at(1), until=at(9)))
    later = await ask(store, ListSessions(since=at(2), until=at(9)))

    assert [(one.session_id, one.last_at, one.turns) for one in asked.sessions] == [
        ("other", at(5), 1),
        ("s", at(1), 1),
    ]
    assert [one.session_id for one in later.sessions] == ["other"]


@pytest.mark.parametrize(
    "turns_each", [(1, 1), (1, 9), (40, 160)], ids=["looked up", "in two steps", "at once"]
)
@pytest.mark.parametrize("limit", [1, 3, 50])
@pytest.mark.parametrize("since", [None, at(70)])
async def test_every_conversation_is_on_one_page_and_the_latest_are_first(
    module_store, monkeypatch, turns_each, limit, since
):
    """Equal times, and conversations that take turns."""
    chance = Random(7)
    said = [(chance.randrange(100), f"s{chance.randrange(20):02}") for _ in range(300)]
    # Stored once, however often the test runs: each has an identity.
    await put(
        module_store,
        *(
            turn(second, session_id=name, id=f"{number}")
            for number, (second, name) in enumerate(said)
        ),
        topic=TURNS,
    )
    monkeypatch.setattr(sessions, "_TURNS_EACH", turns_each)
    monkeypatch.setattr(sessions, "_MOST_SESSIONS", 7)

    found = await all_pages(module_store, ListSessions, limit=limit, since=since)

    last = {name: max(second for second, one in said if one == name) for _, name in said}
    expected = sorted(((second, name) for name, second in last.items()), reverse=True)
    assert [(one.last_at, one.session_id) for one in found] == [
        (at(second), name) for second, name in expected if since is None or at(second) >= since
    ]
    assert {one.session_id: one.turns for one in found} == {
        one.session_id: sum(name == one.session_id for _, name in said) for one in found
    }


@pytest.mark.parametrize(
    "turns_each", [(1, 1), (1, 9), (40, 160)], ids=["looked up", "in two steps", "at once"]
)
async def test_a_conversation_with_a_new_turn_between_two_pages_is_on_a_later_one(
    store, monkeypatch, turns_each
):
    """Three have one behind the first page, and one of these again behind the second."""
    monkeypatch.setattr(sessions, "_TURNS_EACH", turns_each)
    await put(store, *(turn(-n, session_id=f"s{n}") for n in range(6)), topic=TURNS)
    first = await ask(store, ListSessions(limit=2))
    later = [turn(1, session_id="s3"), turn(2, session_id="s4"), turn(3, session_id="s5")]
    await put(store, *later, topic=TURNS)
    second = await ask(store, ListSessions(limit=2, cursor=first.next_cursor))
    await put(store, turn(9, session_id="s4"), topic=TURNS)
    third = await ask(store, ListSessions(limit=2, cursor=second.next_cursor))

    pages = [[one.session_id for one in page.sessions] for page in (first, second, third)]

    assert pages == [["s0", "s1"], ["s2", "s3"], ["s5", "s4"]]
    assert third.next_cursor is None


async def test_a_cost_of_many_digits_is_added_exactly(store):
    cost = "0." + "12345678" * 5
    await put(store, turn(0, cost_usd=cost), turn(1, cost_usd="1" + "0" * 29), topic=TURNS)

    assert (await only(store)).cost_usd == Decimal("1" + "0" * 29 + cost[1:])


@pytest.mark.parametrize("character", ["\x01", "快", "😀"])
async def test_a_list_goes_on_behind_the_longest_names(store, character):
    names = [str(number) + character * 254 for number in range(3)]
    await put(store, *(turn(0, session_id=name, model=name) for name in names), topic=TURNS)
    for name in names:
        await ask(store, SetPreference(key=name, value="x", updated_by="anna"))
    usage = {"since": at(0), "until": at(1), "limit": 1}

    found = await all_pages(store, ListSessions, limit=1)
    by_session = await all_pages(store, ReportUsage, by="session", **usage)
    by_model = await all_pages(store, ReportUsage, by="model", **usage)
    preferences = await all_pages(store, ListPreferences, limit=1)

    assert [one.session_id for one in found] == names[::-1]
    assert [one.key for one in by_session] == [one.key for one in by_model] == names
    assert [one.key for one in preferences] == names


async def test_usage_is_that_of_the_turns_that_name_a_cluster(module_store):
    await put(
        module_store,
        *(
            turn(-100, session_id=f"u{number}", cost_usd=cost, id=f"usage{number}") | named
            for number, (cost, named) in enumerate(
                [
                    ("1", {"cluster": "home"}),
                    ("10", {"cluster": "lab", "model": "opus"}),
                    ("100", {"cluster": "home", "model": "opus"}),
                    ("1000", {"cluster": 5}),
                    ("10000", {"else": "home"}),
                    ("100000", {}),
                ]
            )
        ),
        topic=TURNS,
    )
    time = {"since": at(-100), "until": at(-99)}

    async def cost(**params):
        return (await ask(module_store, ReportUsage(**time, **params))).total.cost_usd

    by_model = await ask(module_store, ReportUsage(**time, cluster="home", by="model"))
    assert [(one.key, one.cost_usd) for one in by_model.usage] == [(None, 1), ("opus", 100)]
    assert by_model.total.cost_usd == await cost(cluster="home") == 101
    assert await cost(cluster="lab") == 10
    assert await cost(cluster="none") == 0
    assert await cost(cluster="") == 111_000
    assert await cost() == 111_111
