"""The rules that say which events open and end which conditions, as data that one can extend."""

import re
from collections.abc import Sequence
from dataclasses import field
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from jarvis_recorder.errors import ConfigurationError
from jarvis_recorder.runtime.texts import from_toml
from jarvis_recorder.wire.measures import ObjectKind

_HOUR: Final = 3_600 * 1_000_000
# Raised where the same rules make other incidents of the same events than before.
_READING: Final = b"6"
_LONGEST_PATTERN: Final = 200
# PostgreSQL stores no NUL.
_Word = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]*$")]
_Pattern = Annotated[str, Field(max_length=_LONGEST_PATTERN)]


class Rule(BaseModel):
    """The events of one kind of condition; `rules.toml` says what each field means."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: _Word
    problem: tuple[_Word, ...] = ()
    recovery: tuple[_Word, ...] = ()
    object: tuple[_Word, ...] = ()
    text: _Pattern | None = None
    node_text: _Pattern | None = None
    evidence: ObjectKind | None = None
    covers: bool = False
    resolves: bool = False

    @field_validator("text", "node_text")
    @classmethod
    def _has_one_group(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            groups = re.compile(text).groups
        except (re.error, OverflowError) as error:
            raise ValueError(f"must be a regular expression: {error}") from None
        if groups != 1:
            raise ValueError("must have one group, which is the name")
        return text


@dataclass(frozen=True)
class Rules:
    """
    The rules in force, the first that fits deciding; times in microseconds.

    After `quiet` without a problem the next one opens another incident. An incident that opens
    `flaps` times within `flapping_span` is flapping.
    """

    rules: tuple[Rule, ...]
    quiet: int = 48 * _HOUR
    flaps: int = 4
    flapping_span: int = _HOUR
    problems: dict[str, Rule] = field(init=False, repr=False, compare=False, default_factory=dict)
    recoveries: dict[str, Rule] = field(init=False, repr=False, compare=False, default_factory=dict)
    kinds: dict[str, Rule] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for rule in reversed(self.rules):
            self.problems.update(dict.fromkeys(rule.problem, rule))
            self.recoveries.update(dict.fromkeys(rule.recovery, rule))
            self.kinds[rule.kind] = rule

    def version(self) -> str:
        """Return a digest of the rules: under another digest the incidents are made again."""
        content = TypeAdapter(Rules).dump_json(
            self, include={"rules", "quiet", "flaps", "flapping_span"}
        )
        return blake2b(content, digest_size=8, salt=_READING).hexdigest()

    def resolves(self, kind: str) -> bool:
        """Return whether the end of a condition of this kind is final."""
        rule = self.kinds.get(kind)
        return rule is not None and rule.resolves


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: tuple[Rule, ...] = ()


def load_rules(path: Path | None, quiet_hours: int) -> Rules:
    """
    Return the shipped rules, behind those of a file where there is one.

    Raises:
        ConfigurationError: The file cannot be read, or a rule in it is wrong; it says which.
    """
    added: Sequence[Rule] = ()
    if path is not None:
        try:
            added = _parsed(path.read_text("utf-8"))
        except ValidationError as error:
            first: Any = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigurationError(f"incidents.rules: {path}: {where}: {first['msg']}") from None
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"incidents.rules: {path}: {error}") from None
    own = {rule.kind for rule in added}
    kept = (rule for rule in shipped_rules().rules if rule.kind not in own)
    return Rules((*added, *kept), quiet=quiet_hours * _HOUR)


@cache
def shipped_rules() -> Rules:
    """Return the rules for the cluster monitor's events."""
    text = files("jarvis_recorder.incidents").joinpath("rules.toml").read_text("utf-8")
    return Rules(_parsed(text))


def _parsed(text: str) -> tuple[Rule, ...]:
    return _File.model_validate(from_toml(text)).rule
