# ruff: noqa: RUF001
"""Words are found in any spelling, in the languages that people use with an assistant."""

import asyncio
import contextlib
import json
import sqlite3
import unicodedata
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from jarvis_recorder.errors import DeadlineExceeded, InvalidParameter
from jarvis_recorder.retention_policy import RetentionPolicy
from jarvis_recorder.storage.sqlite import connections, pruner, search_turns
from jarvis_recorder.storage.sqlite.admin.integrity import verify
from jarvis_recorder.storage.sqlite.store import SqliteStore, open_store
from jarvis_recorder.wire.codec import decode
from jarvis_recorder.wire.rpc.params import (
    DeleteConversation,
    EventHistogram,
    ListEvents,
    SearchTurns,
    TimelineAround,
)
from jarvis_recorder.wire.times import format_datetime
from jarvis_recorder.wire.topics import TOPICS
from tests.support.amqp_bytes import delivery
from tests.support.archive import ask
from tests.support.files import nothing

EVENTS, _, TURNS = TOPICS
START: Final = datetime(2026, 11, 20, 8, tzinfo=UTC)
NOW: Final = round(START.timestamp() * 1_000_000)

SAID: Final = {
    "english": "The power supply of node pve1 failed at night, don't restart it.",
    "german": "Die Überhitzung der Straßenlaternen-Steuerung größer als erlaubt, Prüfung läuft.",
    "french": "Le café est prêt, mais l’énergie du serveur a été coupée à Orléans.",
    "spanish": "¿Por qué falló la actualización del año pasado? El pingüino ya está aquí.",
    "polish": "Łódź: zażółć gęślą jaźń, serwer znów działa.",
    "turkish": "İstanbul'daki sunucu ILIK değil, çok sıcak; fanı değiştirin.",
    "vietnamese": "Máy chủ Đà Nẵng bị quá nhiệt, hãy kiểm tra quạt.",
    "russian": "Сервер перегрелся, ещё раз проверьте вентилятор в Йошкар-Оле.",
    "greek": "Ο διακομιστής υπερθερμάνθηκε στην ΟΔΟΣ Αθηνών.",
    "arabic": "الخَادِمُ ساخنٌ جدًّا، أرجو فحص المروحة.",
    "hindi": "सर्वर बहुत गर्म हो गया है, कृपया पंखा जाँचें।",
    "hebrew": "הַשָּׁרָת התחמם מדי, נא לבדוק את המאוורר.",
    "chinese": "服务器过热了，请检查风扇。",
    "japanese": "プロキシのノードが落ちたので、電源を確認してください。",
    "korean": "서버가 과열되었습니다. 팬을 확인해 주세요.",
    "thai": "เซิร์ฟเวอร์ร้อนเกินไป กรุณาตรวจสอบพัดลม",
    "emoji": "Deploy done 🎉🚀 family 👨‍👩‍👧 thumbs 👍🏽 flag 🇩🇪",
}
CASES: Final = [
    ("english", "POWER failed"), ("english", "restart"), ("english", '"power supply"'),
    ("english", "suppl*"), ("english", "suppl"), ("english", "don't"),
    ("german", "überhitzung"), ("german", "UBERHITZUNG"), ("german", "ÜBERHITZUNG"),
    ("german", "strassenlaternen"), ("german", "straßenlaternen"), ("german", "Überhitz*"),
    ("german", "grosser"), ("german", '"prufung lauft"'),
    ("french", "cafe"), ("french", "CAFÉ"), ("french", "énergie"), ("french", "ENERGIE"),
    ("french", "orleans coupee"), ("french", '"a été coupée"'),
    ("spanish", "pinguino"), ("spanish", "ANO"), ("spanish", "actualizacion fallo"),
    ("polish", "lodz"), ("polish", "ŁÓDŹ"), ("polish", "zazolc"), ("polish", '"gesla jazn"'),
    ("turkish", "istanbul"), ("turkish", "ISTANBUL"), ("turkish", "ılık"), ("turkish", "degistirin"),
    ("vietnamese", "quá nhiệt"), ("vietnamese", '"da nang"'), ("vietnamese", "kiem tra"),
    ("russian", "СЕРВЕР"), ("russian", "еще"), ("russian", "вентилят*"), ("russian", "перегрел"),
    ("greek", "υπερθερμανθηκε"), ("greek", "οδός"), ("greek", "ΔΙΑΚΟΜΙΣΤΗΣ"),
    ("arabic", "الخادم"), ("arabic", "ارجو"), ("arabic", "ساخن"),
    ("hindi", "सर्वर"), ("hindi", '"बहुत गर्म"'), ("hindi", "पंखा"),
    ("hebrew", "השרת"), ("hebrew", "המאוורר"),
    ("chinese", "过热"), ("chinese", "热"), ("chinese", '"检查风扇"'), ("chinese", "服务器 风扇"),
    ("japanese", "ノード"), ("japanese", "ﾉｰﾄﾞ"), ("japanese", "電源"), ("japanese", "落"),
    ("korean", "과열"), ("korean", "서버"), ("korean", "팬"), ("korean", '"확인해 주세요"'),
    ("thai", "ร้อน"), ("thai", "พัดลม"), ("thai", "ไป"),
    ("emoji", "🚀"), ("emoji", "👨‍👩‍👧"), ("emoji", "👍"), ("emoji", "🇩🇪"), ("emoji", '"done 🎉"'),
]  # fmt: skip
NOT_THERE: Final = [
    "热过",
    "ノド",
    "zzz*",
    "🛑",
    "power fridge",
    '"failed power"',
    "열과",
    "!!",
    "suply",
]


async def say(store: SqliteStore, *texts: str, session_id: str = "s") -> None:
    await _put(
        store, TURNS, *({"session_id": session_id, "role": "user", "content": t} for t in texts)
    )


async def happen(store: SqliteStore, *summaries: str, node: str = "pve1") -> None:
    event = {"type": "alert", "severity": "warning", "source": "monitor", "node": node}
    await _put(store, EVENTS, *(event | {"summary": summary} for summary in summaries))


async def _put(store: SqliteStore, topic: Any, *bodies: dict[str, Any]) -> None:
    records = []
    for body in bodies:
        dated = body | {"timestamp": format_datetime(START)}
        records += decode(delivery(json.dumps(dated).encode()), topic, NOW).records
    await store.repository.append(records, NOW)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "recorder.db"


@pytest.fixture
async def store(path):
    async with open_store(path, lambda: NOW) as store:
        yield store


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A store of all texts by language, each as written and decomposed (NFD)."""
    with asyncio.Runner() as runner:
        opened = open_store(tmp_path_factory.mktemp("corpus") / "recorder.db", lambda: NOW)
        store = runner.run(opened.__aenter__())
        for language, text in SAID.items():
            apart = unicodedata.normalize("NFD", text)
            runner.run(say(store, text, apart, session_id=language))
        yield lambda query: runner.run(ask(store, SearchTurns(query=query))).turns
        runner.run(opened.__aexit__(None, None, None))


def test_there_are_sixty_cases_in_twelve_languages():
    assert len(CASES) >= 60
    assert len({language for language, _ in CASES}) >= 12


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("language", "query"), CASES)
def test_a_word_is_found_in_each_language_and_shown_as_it_was_said(corpus, language, query, form):
    found = corpus(unicodedata.normalize(form, query))

    assert [one.turn.session_id for one in found] == [language] * 2
    for one in found:
        assert one.highlights
        assert one.snippet.strip("…") in one.turn.content
        assert all(one.snippet[begin:end].strip() for begin, end in one.highlights)


@pytest.mark.parametrize("query", NOT_THERE)
def test_what_no_one_said_is_not_found(corpus, query):
    assert corpus(query) == []


def test_what_is_found_is_marked_in_the_original_spelling(corpus):
    marked = {}
    for language, query in (
        ("german", "prufung UBERHITZUNG"),
        ("chinese", "过热"),
        ("thai", "ร้อน"),
    ):
        marked[language] = {
            tuple(one.snippet[begin:end] for begin, end in one.highlights) for one in corpus(query)
        }

    assert marked == {
        "german": {
            ("Überhitzung", "Prüfung"),
            tuple(unicodedata.normalize("NFD", word) for word in ("Überhitzung", "Prüfung")),
        },
        "chinese": {("过热",)},
        "thai": {("ร้อน",)},
    }


async def test_the_best_is_first_and_the_snippet_is_cut_to_it(store):
    await say(
        store, "风扇 " + "其他的事情 " * 200 + "风扇过热 " + "其他 " * 200, "过热过热", "没有"
    )

    found = (await ask(store, SearchTurns(query="过热"))).turns

    assert [one.turn.content[:2] for one in found] == ["过热", "风扇"]
    assert found[1].snippet.startswith("…")
    assert found[1].snippet.endswith("…")
    assert "过热" in found[1].snippet


async def test_a_word_that_very_many_say_does_not_hide_the_one_that_tells(store):
    await say(store, *(f"节点 common {number}" for number in range(2_100)))
    await say(store, "common 节点 rare", "rare rare common")

    best = (await ask(store, SearchTurns(query="common rare"))).turns
    newest = (await ask(store, SearchTurns(query="common", limit=2))).turns
    of_session = (await ask(store, SearchTurns(query="节点", session_id="s", limit=1))).turns

    assert [one.turn.content for one in best] == ["rare rare common", "common 节点 rare"]
    assert [one.turn.id for one in newest] == [2_102, 2_101]
    assert of_session[0].turn.content == "common 节点 rare"


async def test_a_word_that_no_turn_holds_is_a_beginning(store):
    """A word that occurs is no prefix: very many words begin like a common one."""
    await say(store, "net power failing", "network power failure", "net")

    def found(query: str) -> Any:
        return ask(store, SearchTurns(query=query))

    assert len((await found("powe fail")).turns) == 2
    assert [one.turn.content for one in (await found("net fail")).turns] == ["net power failing"]
    assert (await found("net failure")).turns == []


async def test_a_turn_that_is_delivered_again_is_found_once(store):
    turn = {"session_id": "s", "role": "user", "content": "过热", "id": "one"}
    await _put(store, TURNS, turn)
    await _put(store, TURNS, turn, turn | {"id": "two"})

    found = (await ask(store, SearchTurns(query="热"))).turns

    assert sorted(one.turn.message_id for one in found) == ["one", "two"]


async def test_erased_and_pruned_words_leave_the_index(store, path):
    await say(store, "密码是蝴蝶", "Größe égal", "plain", session_id="erased")
    await say(store, "蝴蝶", "Größe", "plain", session_id="pruned")

    await ask(store, DeleteConversation(session_id="erased"))
    assert len((await ask(store, SearchTurns(query="蝴蝶"))).turns) == 1
    year_later = NOW + 365 * 86_400 * 1_000_000
    await pruner.prune(store.writer, RetentionPolicy(turns=1), year_later)

    for query in ("蝴蝶", "grosse", "plain"):
        assert (await ask(store, SearchTurns(query=query))).turns == []
    assert [check.problems for check in verify(path, nothing) if check.problems] == []
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE VIRTUAL TABLE temp.w USING fts5vocab(main, conversations_fts, row)"
        )
        assert connection.execute("SELECT term FROM temp.w").fetchall() == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("ÜBERHITZUNG auf pve1", "überhitzung"),
        ("CAFE\u0301 offline", "café"),
        ("CAFÉ offline", "cafe o"),
        ("cafe offline", "CAFÉ"),
        ("服务器过热了", "过热"),
        ("disk 100% full_", "100% FULL_"),
        ("Straße gesperrt", "STRASSE"),
        ("don\u2019t restart pve1", "don't restart"),
        ("don't restart pve1", "don\u2019t"),
        ("l\u2019énergie coupée", "l'energie"),
        ("pve1 \u2013 down", "pve1 - DOWN"),
        ("pve1\u201101 said \u201cno\u201d", 'pve1-01 said "no"'),
        ("צה\u05f4ל", 'צה"ל'),
    ],
)
async def test_events_are_filtered_by_folded_text(store, text, query):
    await happen(store, text, "something else", "什么都没有")

    found = await ask(store, ListEvents(text=query))
    counted = await ask(
        store, EventHistogram(since=START, until=datetime(2026, 11, 21, tzinfo=UTC), text=query)
    )

    assert [event.summary for event in found.events] == [text]
    assert sum(bucket.count for bucket in counted.buckets) == 1


async def test_a_node_is_the_same_in_each_spelling(store):
    await happen(store, "one", node="Büro-PVE1")
    await happen(store, "two", node="bu\u0308ro-pve1")
    await happen(store, "three", node="buro-pve2")

    for spelling in ("BÜRO-pve1", "buro-pve1"):
        found = (await ask(store, ListEvents(node=spelling))).events
        around = await ask(store, TimelineAround(timestamp=START, node=spelling))
        assert {event.summary for event in found} == {"one", "two"}
        assert {event.summary for event in around.events} == {"one", "two"}
    assert (await ask(store, ListEvents(node="pve9"))).events == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("net*", {"net", "nets", "netz", "netzwerk", "netzwerke", "netzwerker"}),
        ("netz*", {"netz", "netzwerk", "netzwerke", "netzwerker"}),
        ("netzw*", {"netzwerk", "netzwerke", "netzwerker"}),
        ("netzwerk*", {"netzwerk", "netzwerke", "netzwerker"}),
        ("netzwerker*", {"netzwerker"}),
        ('"das netzwerk"*', {"netzwerk", "netzwerke"}),
    ],
)
@pytest.mark.parametrize("most_ranked", [1_000, 0])
async def test_a_beginning_of_any_length_is_found(store, monkeypatch, query, found, most_ranked):
    """Among few turns, which are ranked, and among very many, where FTS5 is asked another way."""
    monkeypatch.setattr(search_turns, "_MOST_RANKED", most_ranked)
    await say(store, "net", "nets", "ne", "netz", "das netzwerk", "das netzwerke", "netzwerker")

    turns = (await ask(store, SearchTurns(query=query))).turns

    assert {one.turn.content.removeprefix("das ") for one in turns} == found


@pytest.mark.parametrize(
    ("query", "what"),
    [
        (" ".join(f"w{number}" for number in range(101)), "101 words, 0 of them prefixes"),
        ("过" * 101, "101 words, 0 of them prefixes"),
        (f'"{"net " * 60}" "{"power " * 60}"', "120 words, 0 of them prefixes"),
        (" ".join(f"net{number}*" for number in range(17)), "17 words, 17 of them prefixes"),
    ],
)
async def test_a_query_of_too_many_words_or_prefixes_is_refused(store, query, what):
    with pytest.raises(InvalidParameter, match=what) as refused:
        await ask(store, SearchTurns(query=query))

    assert refused.value.path == "query"


async def test_what_stands_twice_in_a_query_counts_once(store):
    await say(store, "net power", "power")

    assert len((await ask(store, SearchTurns(query="net* power " * 60))).turns) == 1


async def test_each_phrase_of_a_query_is_looked_up_once(store, monkeypatch):
    """A prefix may stand for a hundred words, each of them a query of its own."""
    looked_up: list[Any] = []
    look_up = search_turns.match_one_by_one

    def noted(connection, phrase):
        looked_up.append(phrase)
        return look_up(connection, phrase)

    monkeypatch.setattr(search_turns, "match_one_by_one", noted)
    await say(store, "net power failure")

    await ask(store, SearchTurns(query='net* pow* "power failing"* "net power"'))

    assert looked_up
    assert len(looked_up) == len(set(looked_up))


@pytest.fixture
async def repetitive(store, path):
    """A store of turns with the same few words, again and again."""
    words = [f"ka{number}" for number in range(150)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO conversations (message_id, session_id, timestamp, stamped, role, content,"
            " recorded_at) VALUES (?, 's', ?, 0, 'user', ?, ?)",
            (
                (f"m{number}", NOW + number, " ".join(["ka"] * 500 + words[number % 50 :]), NOW)
                for number in range(4_000)
            ),
        )
    return store


@pytest.mark.parametrize(
    "query",
    [
        f'"{"ka " * 100}"',
        f'"{"ka " * 99}" zzqx',
        " ".join(f"ka{number}*" for number in range(16)),
        " ".join(f'"ka ka{number}"*' for number in range(16)),
        " ".join(f"ka{number}" for number in range(100)),
    ],
)
async def test_a_deadline_ends_the_most_laborious_search(repetitive, query):
    loop = asyncio.get_running_loop()
    for _ in range(2 * connections.READERS):
        began = loop.time()
        with contextlib.suppress(DeadlineExceeded):
            await ask(repetitive, SearchTurns(query=query), seconds=0.02)
        assert loop.time() - began < 0.5

    # All threads that scan are free again.
    assert (await ask(repetitive, SearchTurns(query="ka zzqx"), seconds=1.0)).turns == []
