"""
Acting as the owner of a directory, where root would act there for somebody else.

Whoever owns a directory decides what a name in it leads to. Root that opens, truncates or gives
away a file by such a name does so to any file its owner has put a link to.
"""

import contextlib
import functools
import os
import pwd
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, Final, NamedTuple, ParamSpec, TypeVar

from jarvis_recorder.errors import ConfigurationError

P = ParamSpec("P")
T = TypeVar("T")

_ROOT: Final = 0
_MOST_LINKS: Final = 40


class _Identity(NamedTuple):
    """The rights that the process acts with."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@contextlib.contextmanager
def acting_for(path: Path) -> Iterator[None]:
    """
    Act with the rights of whoever owns the way to a file, and no more, while entered.

    Only root can and has to. It may be entered for another file inside, and is of the whole
    process: nothing else may be under way in another thread that needs root's rights.

    Raises:
        ConfigurationError: Root may not become that user here; says what to do.
    """
    if _ROOT not in os.getresuid():
        yield
        return
    before = _current()
    try:
        _become(_owner_as_root_sees(path))
    except OSError as error:
        _become(before)
        raise ConfigurationError(
            f"{path}: lies in a directory of another user, whom root may not act as here "
            f"({error.strerror}): run the command as that user"
        ) from None
    try:
        yield
    finally:
        _become(before)


def as_owner(work: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Have a function act for the path that is its first argument."""

    @functools.wraps(work)
    def acting(path: Path, /, *arguments: P.args, **options: P.kwargs) -> T:
        with acting_for(path):
            return work(path, *arguments, **options)

    return acting


def resolved(path: Path) -> Path:
    """
    Return the one true path of a file, which is the same user's to decide about as the given.

    Raises:
        ConfigurationError: Root would follow a link of another user's to what is not theirs.
    """
    true = path.resolve()
    with acting_for(path):
        acted_for = _current()
        with acting_for(true):
            if _current()[:2] != acted_for[:2]:
                raise ConfigurationError(
                    f"{path}: is, by a link of user {acted_for.uid}, {true}: name that file itself"
                )
    return true


def _owner_as_root_sees(path: Path) -> _Identity:
    with contextlib.suppress(PermissionError):
        return _owner(path)
    # The way may lead where the user acted for so far cannot see. Otherwise that user's rights are
    # all that is needed, and no other thread finds itself with root's.
    os.seteuid(_ROOT)
    return _owner(path)


def _owner(path: Path) -> _Identity:
    """Return who, besides root, can change the way to a file first; root where no one can."""
    here, ahead, links = Path("/"), deque(path.absolute().parts[1:]), _MOST_LINKS
    while True:
        about = here.stat()
        if about.st_uid != _ROOT and _is_mapped(about.st_uid):
            return _identity(about)
        if not ahead or not links:
            return _root()
        name = ahead.popleft()
        following = here.parent if name == ".." else here / name
        if following.is_symlink():
            target = following.readlink()
            ahead.extendleft(part for part in reversed(target.parts) if part != "/")
            here = Path("/") if target.is_absolute() else here
            links -= 1
        elif following.is_dir():
            here = following
        else:
            return _root()


def _root() -> _Identity:
    gid = os.getresgid()[0]
    return _Identity(_ROOT, gid, (gid,))


def _identity(about: os.stat_result) -> _Identity:
    try:
        user = pwd.getpwuid(about.st_uid)
    except KeyError:
        # Never root's own group: what it may write is not this user's.
        gid = about.st_gid or about.st_uid
        return _Identity(about.st_uid, gid, (gid,))
    return _Identity(user.pw_uid, user.pw_gid, tuple(os.getgrouplist(user.pw_name, user.pw_gid)))


def _is_mapped(uid: int) -> bool:
    """Whether there is such a user in this namespace: an owner outside of it shows as another."""
    with contextlib.suppress(OSError):
        ranges = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
        return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
    return True


def _current() -> _Identity:
    return _Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _become(identity: _Identity) -> None:
    if identity[:2] == (os.geteuid(), os.getegid()):
        return
    # Only root may change groups; so the way leads over root, from one user to the next.
    os.seteuid(_ROOT)
    os.setgroups(identity.groups)
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
