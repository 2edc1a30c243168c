"""
The parts of a content, told from the data that a tool hands back.

Both are objects. A part is known by its type, by what it holds, or by a text with little next to it.
"""

import re
from typing import Any, Final

# One of these words is in the type of every part that makers and libraries have in a content.
_WORDS_OF_PARTS: Final = frozenset(
    ("text", "refusal", "image", "audio", "video", "file", "document", "media", "screenshot",
     "resource", "source", "search", "fetch", "tool", "function", "call", "mcp", "message", "thinking",
     "reasoning", "step", "data", "custom", "standard", "container", "compaction",
     "reference")
)  # fmt: skip
_WORDS: Final = re.compile(r"[a-z]+").findall
# The objects in Amazon's and Google's parts, which have no type.
_BLOCKS: Final = frozenset((
    "image", "audio", "video", "document", "reasoningContent", "cachePoint", "guardContent",
    "citationsContent", "searchResult", "toolUse", "toolResult", "inlineData", "inline_data",
    "fileData", "file_data", "functionCall", "function_call", "functionResponse",
    "function_response", "executableCode", "executable_code", "codeExecutionResult",
    "code_execution_result",
))  # fmt: skip
_HOLD_TEXT: Final = frozenset(("text", "content", "parts"))
# What stands next to a text and is no part of a tool's result.
_WITH_TEXT: Final = _HOLD_TEXT | frozenset(
    ("type", "role", "id", "name", "index", "status", "annotations", "citations", "cache_control",
     "metadata", "isError", "is_error", "structuredContent", "_meta", "tool_name", "toolName",
     "tool_call_id", "tool_use_id", "toolCallId", "toolUseId")
)  # fmt: skip


def is_data(value: Any) -> bool:
    """Say whether a value is, or has in its lists, what is no part of a content."""
    match value:
        case str() | None:
            return False
        case list():
            return any(map(is_data, value))
        case dict():
            return not _is_part(value)
    return True


def _is_part(value: dict[str, Any]) -> bool:
    """Say whether an object is a part of a content as makers of models have them."""
    if not _HOLD_TEXT.isdisjoint(value) and value.keys() <= _WITH_TEXT:
        return True
    match value:
        case {"type": str(name)} | {"kind": str(name)} if _has_word_of_parts(name):
            return True
        case {"content_type": str()} | {"block_type": str()} | {"part_kind": str()}:
            return True
        case {"thought": True} | {"thoughtSignature": str()}:
            return True
    return any(isinstance(value[name], dict) for name in value.keys() & _BLOCKS)


def _has_word_of_parts(type_: str) -> bool:
    return not _WORDS_OF_PARTS.isdisjoint(_WORDS(type_.lower()))
