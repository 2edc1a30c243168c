"""Permissions of users to call methods."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from jarvis_recorder.wire.rpc.jsonrpc import Code, RpcError


class Permissions:
    """
    Users with patterns of method names, such as `events.*`; without any, all may call all.

    A user is the `user_id` of the message; the broker lets no user set it to another's name.
    """

    def __init__(self, rules: Mapping[str, Sequence[str]]) -> None:
        self._rules = rules
        self._is_allowed = lru_cache(maxsize=1_024)(self._matches)

    def check(self, user: str | None, method: str) -> None:
        """
        Return if the user may call the method.

        Raises:
            RpcError: `FORBIDDEN`; the hint says what is missing.
        """
        if not self._rules or self._is_allowed(user, method):
            return
        if user is None:
            raise RpcError(
                Code.FORBIDDEN,
                "this recorder answers only who says who it is",
                path="user_id",
                hint="set the property user_id to the user of the connection",
            )
        raise RpcError(
            Code.FORBIDDEN,
            "this user may not ask this",
            path="method",
            hint="an administrator allows it in rpc.permissions",
        )

    def speaks_for_others(self, user: str) -> bool:
        """
        Return whether the user may put a name or source other than its own on its changes.

        If there are rules, this is for users who may call every method.
        """
        return not self._rules or "*" in self._rules.get(user, ())

    def _matches(self, user: str | None, method: str) -> bool:
        patterns = self._rules.get(user, ()) if user is not None else ()
        return any(fnmatchcase(method, pattern) for pattern in patterns)
