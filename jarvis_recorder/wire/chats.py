"""
Turns as the makers of models and of libraries for them write them.

A response is taken apart to its message; a content in parts becomes a text. What is a call of a
tool goes to `tool_calls`, and what is none of these is left to the rules.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from jarvis_recorder.wire.parts import is_data
from jarvis_recorder.wire.strict_json import dump

Document = dict[str, Any]

_INSTEAD_OF_CONTENT: Final = ("tool_calls", "function_call", "functionCall", "audio")
_CALLS: Final = frozenset(
    ("tool_use", "server_tool_use", "mcp_tool_use", "function_call", "tool-call", "dynamic-tool")
)
_CALL_KEYS: Final = ("functionCall", "function_call", "toolUse")
# A model's reasoning is no part of its content.
_THOUGHTS: Final = frozenset(("thinking", "redacted_thinking", "reasoning"))
_OF_A_MESSAGE: Final = (
    "role", "content", "parts", "tool_calls", "model",
    # LangChain's, which are read like those of a body.
    "usage_metadata", "response_metadata", "additional_kwargs",
)  # fmt: skip
# The other fields that hold a text where there is no content.
_TEXTS: Final = ("response", "message", "text")


def take_message(found: Document, is_role: Callable[[Any], bool]) -> None:
    """Take role, content and tool calls from a response, or from a message as a library keeps it."""
    _take_type(found, found, is_role)
    for message in _messages(found):
        if "content" in found:
            break
        for name in _OF_A_MESSAGE:
            if message.get(name) is not None:
                found.setdefault(name, message[name])
        if "tool_calls" in found or "refusal" in message:
            found.setdefault("content", message.get("refusal") or "")
        _take_type(found, message, is_role)
    _take_item(found)
    if "content" not in found and "parts" not in found:
        _take_text(found)


def _take_type(found: Document, message: Document, is_role: Callable[[Any], bool]) -> None:
    """Take the type of a message of LangChain, which is its role."""
    if "role" not in found and is_role(message.get("type")):
        found["role"] = message["type"]


def _take_text(found: Document) -> None:
    name = next((name for name in _TEXTS if isinstance(found.get(name), str)), None)
    if name is not None:
        found["content"] = found[name]
        if name == "response" and "done" in found:
            found.setdefault("role", "assistant")


def _messages(found: Document) -> Iterator[Document]:
    """Yield the messages in a document: of OpenAI, Google, Amazon, Ollama and LangChain."""
    match found:
        case {"choices": [{"message": dict(message)}, *_]}:
            yield {"role": "assistant", **message}
        case {"candidates": [{"content": dict(message)}, *_]}:
            model = found.get("modelVersion")
            yield {"role": "model", **message, "model": model if isinstance(model, str) else None}
        case {"output": {"message": dict(message)}}:
            yield {"role": "assistant", **message}
        case {"output": list(items)} if found.get("object") == "response":
            yield {"role": "assistant", "content": items}
        case {"message": dict(message)}:
            yield message
        case {"type": str(), "data": dict(message)}:
            yield message
        case {"lc": int(), "kwargs": dict(message)}:
            path = found.get("id")
            if isinstance(path, list):
                # No identity, but the path to a class. LangChain.js names the role only there.
                del found["id"]
                message = {"type": path[-1] if path else None, **message}
            yield message


def _take_item(found: Document) -> None:
    """Take an item of OpenAI's Responses that is a call, or the output of one."""
    match found:
        case {"type": "function_call", "call_id": str()}:
            call = {name: value for name, value in found.items() if name != "session_id"}
            found.setdefault("role", "assistant")
            found.setdefault("tool_calls", [call])
        case {"type": "function_call_output", "output": str() | list() | dict() as output}:
            found.setdefault("role", "tool")
            found.setdefault("content", output)


def take_content(found: Document, is_tool: Callable[[Any], bool]) -> None:
    """
    Turn a content in parts into a text; a missing one next to tool calls becomes empty.

    `is_tool` tells the roles whose content is a tool's result.
    """
    _take_calls(found)
    content = found.get("content", found.get("parts"))
    if isinstance(content, list | dict):
        texts: list[str] = []
        calls: list[Any] = []
        is_result = is_tool(found.get("role")) and is_data(content)
        if not _read_parts(content, texts, calls) and not is_result:
            return
        if is_result or (not texts and not calls and _may_be_result(content, found)):
            texts = [dump(content)]
        found["content"] = "\n".join(texts)
        if calls:
            found.setdefault("tool_calls", calls)
    elif content is None and isinstance(found.get("refusal"), str):
        found["content"] = found["refusal"]
    elif content is None and any(found.get(name) for name in _INSTEAD_OF_CONTENT):
        found["content"] = ""


def _may_be_result(content: list[Any] | Document, found: Document) -> bool:
    """Say whether a content without a text may be a tool's result, as JSON."""
    if isinstance(content, dict) and "type" not in content:
        return True
    # The routing key may yet name a role.
    return "role" not in found and is_data(content)


def _take_calls(found: Document) -> None:
    """Take tool calls from where Vercel's AI SDK and LangChain keep them, if the field has none."""
    more = found.get("additional_kwargs")
    calls = more.get("tool_calls") if isinstance(more, dict) else None
    calls = calls or found.get("toolInvocations")
    if isinstance(calls, list) and calls and not found.get("tool_calls"):
        found["tool_calls"] = calls


def _read_parts(part: Any, texts: list[str], calls: list[Any]) -> bool:
    """Gather the texts and calls of a content in order; return whether it is one at all."""
    match part:
        case str():
            texts.append(part)
        case list():
            return all(_read_parts(one, texts, calls) for one in part if one is not None)
        case dict() if _is_call(part):
            calls.append(part)
        case dict() if _is_thought(part):
            pass
        case (
            {"functionResponse": {"response": result}}
            | {"function_response": {"response": result}}
            | {"type": "tool-result", "output": result}
            | {"type": "tool-result", "result": result}
            | {"toolResult": {"content": result}}
        ):
            _read_result(result, texts, calls)
        case dict() if result := _result_in(part):
            if not is_data(result):
                # Images alone are no text.
                return _read_parts(result, texts, calls)
            _read_result(result, texts, calls)
        case (
            {"text": str() | list() | dict() as inner}
            | {"type": "refusal", "refusal": str(inner)}
            | {"parts": list(inner)}
            | {"content": str() | list() as inner}
        ):
            # Assistants' threads have {"text": {"value": ...}}.
            value = inner.get("value") if isinstance(inner, dict) else inner
            return value is None or _read_parts(value, texts, calls)
        case dict():
            return len(part) > 0
        case _:
            return False
    return True


def _is_call(part: Document) -> bool:
    match part:
        case {"type": str(name)} if name in _CALLS:
            return True
        case {"type": str(name), "toolCallId": str()}:
            return name.startswith("tool-") and name != "tool-result"
    return any(isinstance(part.get(name), dict) for name in _CALL_KEYS)


def _is_thought(part: Document) -> bool:
    match part:
        case {"type": str(name)} if name in _THOUGHTS:
            return True
    return part.get("thought") is True


def _result_in(part: Document) -> Any:
    """Return the result of a tool that is in a part, None if there is none."""
    match part:
        case (
            {"codeExecutionResult": {"output": result}}
            | {"code_execution_result": {"output": result}}
            | {"type": "function_call_output", "output": result}
            | {"type": "resource", "resource": {"text": result}}
        ):
            return result
        case {"type": str(name), "content": list() | dict() as result}:
            return result if name.endswith("tool_result") else None
    return None


def _read_result(result: Any, texts: list[str], calls: list[Any]) -> None:
    """Gather the text of a tool's result: of its parts, or as JSON where it has none."""
    match result:
        case {"type": "text" | "json" | "error-text" | "error-json" | "content", "value": value}:
            result = value
        case [{"json": _}, *_] if not any(
            isinstance(one, dict) and "text" in one for one in result
        ):
            result = [one.get("json") if isinstance(one, dict) else one for one in result]
    if isinstance(result, str):
        texts.append(result)
        return
    before = len(texts)
    is_content = isinstance(result, list) and not is_data(result)
    if not (is_content and _read_parts(result, texts, calls)) or len(texts) == before:
        del texts[before:]
        texts.append(dump(result))
