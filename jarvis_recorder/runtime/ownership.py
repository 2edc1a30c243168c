"""
File access as the owner of a directory, for root in a directory of another user.

The owner of a directory decides which file a name in it leads to. If root opens, truncates or
gives away a file by such a name, the owner can link the name to any file of the system.
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
    """The user and groups whose rights the process uses."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@contextlib.contextmanager
def acting_for(path: Path) -> Iterator[None]:
    """
    Act inside with the rights of the user who owns the path to a file, and no more.

    For other users than root this does nothing. It can be nested for another file. It affects the
    whole process: no other thread may need root's rights meanwhile.

    Raises:
        ConfigurationError: The path cannot be looked at; or root may not become that user here,
            and the message says what to do.
    """
    if _ROOT not in os.getresuid():
        yield
        return
    before = _current()
    owner = None
    try:
        owner = _owner_as_root_sees(path)
        _become(owner)
    except OSError as error:
        _become(before)
        if owner is None and not isinstance(error, PermissionError):
            # No right is missing: a name is too long, or the disk fails.
            raise ConfigurationError(f"{path}: {error.strerror}") from None
        raise ConfigurationError(
            f"{path}: lies in a directory of another user, whom root may not act as here "
            f"({error.strerror}): run the command as that user"
        ) from None
    try:
        yield
    finally:
        _become(before)


def is_anothers(path: Path) -> bool:
    """Return whether `acting_for` would act for another user than the present one."""
    before = os.geteuid()
    with acting_for(path):
        return os.geteuid() != before


def as_owner(work: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Path, P], T]:
    """Wrap a function so that it acts for the path in its first argument."""

    @functools.wraps(work)
    def acting(path: Path, /, *arguments: P.args, **options: P.kwargs) -> T:
        with acting_for(path):
            return work(path, *arguments, **options)

    return acting


def resolved(path: Path) -> Path:
    """
    Return the path of a file without links; the same user controls it as the given path.

    Raises:
        ConfigurationError: Its links lead in a circle; or a link of another user would lead root to
            a file that is not theirs.
    """
    # `Path.resolve` has a RuntimeError of its own for a circle, until Python 3.13.
    true = Path(os.path.realpath(path))
    if _is_link(true):
        raise ConfigurationError(f"{path}: its links lead in a circle: name the file")
    with acting_for(path):
        acted_for = _current()
        with acting_for(true):
            if _current()[:2] != acted_for[:2]:
                raise ConfigurationError(
                    f"{path}: is, by a link of user {acted_for.uid}, {true}: name that file itself"
                )
    return true


def _is_link(path: Path) -> bool:
    """Return whether a path is a link; no too where it cannot be looked at."""
    with contextlib.suppress(OSError):
        return path.is_symlink()
    return False


def _owner_as_root_sees(path: Path) -> _Identity:
    with contextlib.suppress(PermissionError):
        return _owner(path)
    # The current user cannot read part of the path. Root's rights are taken only then, so that no
    # other thread has them for a while without need.
    os.seteuid(_ROOT)
    return _owner(path)


def _owner(path: Path) -> _Identity:
    """Return the first user on the path who, besides root, can change it; else root."""
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
        # Never root's own group: this user may not write the files of that.
        gid = about.st_gid or about.st_uid
        return _Identity(about.st_uid, gid, (gid,))
    return _Identity(user.pw_uid, user.pw_gid, tuple(os.getgrouplist(user.pw_name, user.pw_gid)))


def _is_mapped(uid: int) -> bool:
    """Return whether a user id is mapped in this namespace; an owner outside shows as another."""
    with contextlib.suppress(OSError):
        ranges = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
        return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)
    return True


def _current() -> _Identity:
    return _Identity(os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _become(identity: _Identity) -> None:
    if identity[:2] == (os.geteuid(), os.getegid()):
        return
    # Only root may change groups, so the process becomes root between two users.
    os.seteuid(_ROOT)
    os.setgroups(identity.groups)
    os.setegid(identity.gid)
    os.seteuid(identity.uid)
