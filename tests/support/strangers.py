"""Calls of a user who is not root, next to files that are root's."""

import codecs
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import pytest

# A host's name is encoded by it; Python imports it at its first use.
codecs.lookup("idna")

T = TypeVar("T")

_STRANGER = 65534


def as_stranger(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """
    Return the result of a call in a process of another user, or raise its error.

    All that it imports has to be imported before: the other user may not see where Python is.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with ProcessPoolExecutor(
        1, get_context("fork"), os.setresuid, (_STRANGER, _STRANGER, _STRANGER)
    ) as processes:
        return processes.submit(work, *arguments, **options).result()
