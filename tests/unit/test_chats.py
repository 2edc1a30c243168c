"""Turns as models and their libraries write them by default, recorded as docs/publishers.md says."""

import json
from typing import Any

import pytest

from jarvis_recorder.wire.records import Turn
from tests.unit.test_liberal import KEYS, decoded, refused, taken

CALL: dict[str, Any] = {"type": "tool_use", "id": "t1", "name": "list_nodes", "input": {}}
FUNCTION: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "f"}}
ITEM: dict[str, Any] = {
    "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}",
}  # fmt: skip
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def recorded(body: dict[str, Any], key: str = "chat.turn") -> Turn:
    """Return the turn that a body becomes; what it said itself is in `extra`."""
    found = taken({"session_id": "s"} | body, key)
    assert isinstance(found.body, Turn)
    for name, value in body.items():
        kept = getattr(found.body, name, None) == value or name not in found.body.__slots__
        assert kept or found.extra[name] == value
    return found.body


@pytest.mark.parametrize(
    ("body", "role", "content", "calls"),
    [
        # OpenAI: Chat Completions, and Responses with its items.
        ({"object": "chat.completion",
          "choices": [{"message": {"content": "up", "refusal": None}}]}, "assistant", "up", None),
        ({"object": "response", "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "role": "assistant",
             "content": [{"type": "output_text", "text": "up"}]}, ITEM]},
         "assistant", "up", [ITEM]),
        (ITEM, "assistant", "", [ITEM]),
        ({"type": "function_call_output", "call_id": "c1", "output": '{"ok":true}'},
         "tool", '{"ok":true}', None),
        # Anthropic.
        ({"type": "message", "role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "see"}, CALL]},
         "assistant", "see", [CALL]),
        # Google.
        ({"candidates": [{"content": {"role": "model", "parts": [
            {"text": "hm", "thought": True}, {"text": "up"}]}}]}, "assistant", "up", None),
        ({"role": "model", "parts": [{"function_call": {"name": "f"}}]},
         "assistant", "", [{"function_call": {"name": "f"}}]),
        ({"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]},
         "tool", '{"a":1}', None),
        # Ollama, both of its methods.
        ({"message": {"role": "assistant", "content": "up", "thinking": "hm"}, "done": True},
         "assistant", "up", None),
        ({"response": "up", "done": True, "context": [1]}, "assistant", "up", None),
        # Amazon.
        ({"output": {"message": {"content": [{"text": "up"}, {"toolUse": {"name": "f"}}]}}},
         "assistant", "up", [{"toolUse": {"name": "f"}}]),
        ({"role": "user", "content": [
            {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": 1}}]}}]},
         "user", '[{"a":1}]', None),
        # LangChain: a message, one of its dictionaries, and what it serializes.
        ({"type": "human", "content": "hi", "additional_kwargs": {}}, "user", "hi", None),
        ({"type": "AIMessageChunk", "content": "up"}, "assistant", "up", None),
        ({"type": "ai", "content": "", "tool_calls": [],
          "additional_kwargs": {"tool_calls": [FUNCTION]}}, "assistant", "", [FUNCTION]),
        ({"type": "tool", "content": "r", "tool_call_id": "c1"}, "tool", "r", None),
        ({"type": "human", "data": {"type": "human", "content": "hi"}}, "user", "hi", None),
        ({"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"],
          "kwargs": {"content": "hi", "type": "human"}}, "user", "hi", None),
        ({"type": "ai", "data": {"type": "ai", "content": "", "tool_calls": [],
                                 "additional_kwargs": {"tool_calls": [FUNCTION]}}},
         "assistant", "", [FUNCTION]),
        # Vercel's AI SDK.
        ({"role": "assistant", "parts": [
            {"type": "step-start"}, {"type": "reasoning", "text": "hm"},
            {"type": "tool-f", "toolCallId": "c", "state": "output-available"},
            {"type": "text", "text": "up"}]},
         "assistant", "up", [{"type": "tool-f", "toolCallId": "c", "state": "output-available"}]),
        ({"role": "assistant", "content": "up", "toolInvocations": [{"toolCallId": "c"}]},
         "assistant", "up", None),
        ({"role": "tool", "content": [
            {"type": "tool-result", "toolCallId": "c", "output": {"type": "text", "value": "ok"}},
            {"type": "tool-result", "toolCallId": "d", "output": {"type": "json", "value": [1]}},
            {"type": "tool-result", "toolCallId": "e", "result": {"a": 1}}]},
         "tool", 'ok\n[1]\n{"a":1}', None),
        # Others.
        ({"role": "CHATBOT", "message": "up"}, "assistant", "up", None),
        ({"role": "user", "text": "hi"}, "user", "hi", None),
        ({"role": "tool", "content": {"ok": True}}, "tool", '{"ok":true}', None),
        ({"role": "observation", "content": "r"}, "tool", "r", None),
    ],
)  # fmt: skip
def test_a_turn_is_taken_as_its_library_writes_it(body, role, content, calls):
    found = recorded(body)

    assert (found.role, found.content, found.tool_calls) == (role, content, calls)


def recorded_content(content: Any, role: str = "tool") -> str:
    return recorded({"role": role, "content": content}).content


IMAGE = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
FOUND = {"title": "T", "url": "U", "content": "C"}
RUN = {"type": "code_execution_result", "stdout": "42\n", "stderr": "", "return_code": 0}


@pytest.mark.parametrize(
    "content",
    [
        [{"city": "X", "temp": 3}],
        [{"type": "node", "name": "pve1"}, {"type": "storage", "content": "iso", "shared": 1}],
        [{"type": "text", "text": "a"}, {"city": "X"}],
        {"type": "Node", "name": "pve1", "cpu": 0.3},
        {"text": "T", "score": 3, "url": "U"},
        [{"name": "pve1", "status": "online"}],
        [1, [2, 3]],
        {},
    ],
)
@pytest.mark.parametrize("role", ["tool", "Function", "observation"])
def test_a_result_of_a_tool_that_is_data_is_its_json(content, role):
    assert json.loads(recorded_content(content, role)) == content


def test_data_is_a_content_where_only_the_routing_key_says_that_it_is_of_a_tool():
    found = recorded({"content": [{"city": "X"}]}, "chat.turn.tool")

    assert (found.role, found.content) == ("tool", '[{"city":"X"}]')


@pytest.mark.parametrize(
    ("part", "text"),
    [
        # Vercel's AI SDK.
        ({"type": "tool-result", "output": {"type": "json", "value": [FOUND]}},
         '[{"title":"T","url":"U","content":"C"}]'),
        # Amazon.
        ({"toolResult": {"content": [{"text": "a"}, {"json": {"x": 1}}]}},
         '[{"text":"a"},{"json":{"x":1}}]'),
        ({"toolResult": {"content": [{"json": {"x": 1}}, {"text": "a"}]}},
         '[{"json":{"x":1}},{"text":"a"}]'),
        # Anthropic.
        ({"type": "code_execution_tool_result", "tool_use_id": "t", "content": RUN},
         '{"type":"code_execution_result","stdout":"42\\n","stderr":"","return_code":0}'),
        ({"type": "tool_result", "tool_use_id": "t", "content": [{"city": "X"}]}, '[{"city":"X"}]'),
        # Google.
        ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42"}}, "42"),
        ({"code_execution_result": {"outcome": "OUTCOME_OK", "output": "42"}}, "42"),
        ({"function_response": {"name": "f", "response": {"a": 1}}}, '{"a":1}'),
        # OpenAI; MCP.
        ({"type": "function_call_output", "call_id": "c1", "output": "res"}, "res"),
        ({"type": "function_call_output", "call_id": "c1",
          "output": [{"type": "input_text", "text": "res"}]}, "res"),
        ({"type": "function_call_output", "call_id": "c1", "output": {"a": 1}}, '{"a":1}'),
        ({"type": "resource", "resource": {"uri": "u", "text": "BODY"}}, "BODY"),
    ],
)  # fmt: skip
def test_a_result_within_a_content_is_a_text_of_it(part, text):
    assert recorded_content([part]) == text
    assert recorded_content([{"type": "text", "text": "a"}, part], "assistant") == f"a\n{text}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([IMAGE], ""),
        (IMAGE, ""),
        ([{"type": "text", "text": "a", "annotations": []}, IMAGE], "a"),
        ([{"type": "paragraph", "text": "a"}], "a"),
        ([{"kind": "text", "text": "a", "metadata": {}}], "a"),
        ([{"part_kind": "tool-return", "tool_name": "f", "content": "a", "timestamp": "T"}], "a"),
        ([{"text": "a", "thoughtSignature": "x"}, {"inlineData": {"data": "AAAA"}}], "a"),
        ({"content_type": "execution_output", "text": "42"}, "42"),
        ({"content": [{"type": "text", "text": "a"}], "isError": False}, "a"),
        ([{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}], ""),
        ([{"type": "tool_result", "tool_use_id": "t", "content": [{"text": "a"}, IMAGE]}], "a"),
        ([{"toolResult": {"content": [{"text": "a"}, {"image": {"format": "png"}}]}}], "a"),
        ([{"toolResult": {"content": [{"json": {"x": 1}}, {"json": {"x": 2}}]}}],
         '[{"x":1},{"x":2}]'),
        ([{"type": "tool-result", "output": {"type": "json", "value": ["a", {"text": "b"}]}}],
         "a\nb"),
        ([{"type": "web_search_tool_result", "tool_use_id": "t",
           "content": [{"type": "web_search_result", "encrypted_content": "AAAA"}]}], ""),
        (["a", {"codeExecutionResult": {"output": ""}}], "a"),
    ],
)  # fmt: skip
def test_a_result_of_a_tool_in_parts_is_their_texts(content, text):
    assert recorded_content(content) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"text": "hi", "lang": "en"}, "hi"),
        ([{"type": "text", "text": "hi"}, {"type": "sticker", "of": 7}], "hi"),
        ([{"type": "sticker", "of": 7}], ""),
    ],
)
def test_what_no_tool_says_is_its_texts(content, text):
    assert recorded_content(content, "user") == text


def test_the_output_of_a_function_is_a_turn_whatever_its_type():
    found = recorded({"type": "function_call_output", "call_id": "c1", "output": {"a": 1}})

    assert (found.role, found.content) == ("tool", '{"a":1}')


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("HumanMessage", "user"), ("AIMessage", "assistant"), ("AIMessageChunk", "assistant"),
        ("SystemMessage", "system"), ("ToolMessage", "tool"),
    ],
)  # fmt: skip
def test_langchain_for_javascript_names_the_role_in_the_path_to_the_class(name, role):
    kwargs = {"content": "hi", "additional_kwargs": {}, "response_metadata": {}}
    path = ["langchain_core", "messages", name]

    found = recorded({"lc": 1, "type": "constructor", "id": path, "kwargs": kwargs})

    assert (found.role, found.content, found.id) == (role, "hi", None)


@pytest.mark.parametrize("path", [[], ["langchain_core", 7], ["langchain_core", "Document"]])
def test_a_class_of_langchain_that_is_no_message_names_no_role(path):
    body = {"session_id": "s", "lc": 1, "id": path, "kwargs": {"content": "hi"}}

    assert refused(body, "chat.turn") == "role: Field required"


@pytest.mark.parametrize(
    "shape",
    [
        lambda message: {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": message},
        lambda message: {"type": "ai", "data": message},
    ],
)
def test_tokens_and_model_are_within_a_message_of_langchain(shape):
    usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}
    message = {"content": "up", "type": "ai", "usage_metadata": usage,
               "response_metadata": {"model_name": "m"}}  # fmt: skip

    found = recorded(shape(message))

    assert (found.input_tokens, found.output_tokens, found.tokens_used) == (5, 6, 11)
    assert found.model == "m"


@pytest.mark.parametrize(
    "reported",
    [
        {"response_metadata": {"token_usage": USAGE, "model_name": "m"}},
        {"response_metadata": {"usage": {"input_tokens": 10, "output_tokens": 5}, "model": "m"}},
        {"usage": {"billed_units": {"input_tokens": 1},
                   "tokens": {"input_tokens": 10, "output_tokens": 5}}, "model": "m"},
    ],
)  # fmt: skip
def test_tokens_and_model_are_where_libraries_put_them(reported):
    for shape in ({"type": "ai", "content": "up"}, {"role": "assistant", "content": "up"}):
        found = recorded(shape | reported)

        assert (found.tokens_used, found.input_tokens, found.output_tokens) == (15, 10, 5)
        assert found.model == "m"


def test_a_response_of_google_names_its_model():
    parts = {"role": "model", "parts": [{"text": "up"}]}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}

    found = recorded(
        {"candidates": [{"content": parts}], "usageMetadata": usage, "modelVersion": "g"}
    )

    assert (found.model, found.tokens_used) == ("g", 15)


@pytest.mark.parametrize("name", ["conversation_id", "conversationId", "thread_id", "threadId"])
def test_the_conversation_has_other_names(name):
    found = taken({name: "c", "role": "user", "content": "hi"}, KEYS[2])

    assert isinstance(found.body, Turn)
    assert found.body.session_id == "c"
    assert found.extra == {name: "c"}


def test_an_empty_identity_is_none():
    found = taken({"session_id": "s", "role": "user", "content": "hi", "id": ""}, KEYS[2])

    assert (found.message_id, found.extra) == (None, {"id": ""})


def test_an_identity_of_mongodb_is_its_text():
    body = {"session_id": "s", "role": "user", "content": "hi", "id": {"$oid": "507f"}}

    assert taken(body, KEYS[2]).message_id == "507f"


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"delta": {"content": "u"}}]},
        {"type": "message"},
        {"type": "human"},
        {"lc": 1, "kwargs": {}},
        {"output": []},
        {"role": "assistant", "message": 5},
        {"type": "function_call"},
    ],
)
def test_what_holds_no_turn_is_refused_by_the_field_that_is_missing(body):
    assert refused({"session_id": "s"} | body, "chat.turn").endswith("Field required")


MASSTRANSIT = {
    "messageId": "0b", "conversationId": "0c", "messageType": ["urn:message:Acme:Turn"],
    "sentTime": "2026-11-26T03:00:00Z", "headers": {}, "host": {"machineName": "web"},
}  # fmt: skip


@pytest.mark.parametrize("name", ["conversationId", "threadId", "session_id"])
def test_a_turn_in_the_envelope_of_masstransit_is_of_the_session_that_it_names(name):
    inner = {name: "s", "role": "user", "content": "hi"}

    for body in (MASSTRANSIT | {"message": inner}, [MASSTRANSIT | {"message": inner}]):
        found = taken(body, "chat.turn")
        assert (found.body.session_id, found.message_id) == ("s", "0b")


def test_what_the_envelope_of_masstransit_says_is_not_said_by_its_message():
    without = MASSTRANSIT | {"message": {"role": "user", "content": "hi"}}
    as_message = MASSTRANSIT | {"message": {"sessionId": "s", "role": "user", "message": "hi"}}
    unset = MASSTRANSIT | {"message": {"id": "", "sessionId": "s", "role": "user", "content": "hi"}}
    event = {"type": "alert", "severity": "info", "source": "monitor", "summary": "hot"}

    assert "session_id" in refused(without, "chat.turn")
    assert taken(as_message, "chat.turn").body.content == "hi"
    assert taken(unset, "chat.turn").message_id == "0b"
    assert decoded([MASSTRANSIT | {"message": event}], KEYS[0]).near_misses == ()
    hosted = MASSTRANSIT | {"message": event | {"host": "pve1"}}
    assert decoded([hosted], KEYS[0]).near_misses == (("node", "host", 1),)


def test_the_envelope_of_masstransit_is_opened():
    inner = {"type": "Alert", "severity": "Warning", "source": "monitor", "summary": "hot"}
    body = {
        "messageId": "0b", "conversationId": "0c", "messageType": ["urn:message:Acme:Alert"],
        "message": inner, "sentTime": "2026-11-26T03:00:00Z", "headers": {}, "host": {},
    }  # fmt: skip

    found = taken(body, content_type="application/vnd.masstransit+json")

    assert (found.body.summary, found.body.severity, found.message_id) == ("hot", "warning", "0b")
    assert found.extra == body
    assert decoded([body], KEYS[0]).refusals == []
