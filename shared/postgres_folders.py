"""Where the embedded PostgreSQL may live, whose account runs it, and who can reach its socket.

All three follow one rule: nobody but that account (and root) gets in. Kept apart from shared/postgres.py
because nothing here knows PostgreSQL, and all of it knows the operating system.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import pwd
import re
import secrets
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import Unavailable

log = logging.getLogger(__name__)

ACCOUNT = "chiso"
SOCKET_NAME = ".s.PGSQL.5432"
SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes that fit into sockaddr_un.sun_path before its final NUL."""


class EmbeddedUnusable(Unavailable):
    """The embedded server cannot run here; `en` says what to do."""

    def __init__(self, en: str) -> None:
        super().__init__("Không chạy được cơ sở dữ liệu nhúng. Hãy xem thông báo kỹ thuật kèm theo.", en)


@dataclass(frozen=True)
class Account:
    """The system account that runs the server."""

    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    def popen_options(self) -> dict[str, Any]:
        """For subprocess: become this account, without the groups of root."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_search(self, folder: Path) -> bool:
        found = folder.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid in os.getgrouplist(self.name, self.gid):
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def account_for(cluster: Path) -> Account:
    """The account that runs the server of this data directory.

    Ours, unless we are root, which PostgreSQL refuses: then the owner of an existing data directory, else the
    first of the accounts chiso and postgres, else chiso, which is made (system account, no shell, no home).
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    uid = os.geteuid()
    if uid != 0:
        if owner not in (None, uid):
            raise EmbeddedUnusable(
                f"{cluster} belongs to another user (uid {owner}). Run chiso as that user, or "
                "choose another DATA_DIR."
            )
        return Account(str(uid), uid, os.getegid())
    if owner == 0:
        raise EmbeddedUnusable(
            f"{cluster} belongs to root, and PostgreSQL does not run as root. Give the folder back to the "
            f"account that ran it (chown -R {ACCOUNT} {cluster}), or choose another DATA_DIR."
        )
    for found in [entry for entry in pwd.getpwall() if owner is None or entry.pw_uid == owner]:
        if owner is not None or found.pw_name == ACCOUNT:
            return Account(found.pw_name, found.pw_uid, found.pw_gid)
    if owner is not None:
        raise EmbeddedUnusable(f"{cluster} belongs to uid {owner}, which has no account on this system.")
    try:
        found = pwd.getpwnam("postgres")
    except KeyError:
        found = _new_account()
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def _new_account() -> pwd.struct_passwd:
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        ACCOUNT,
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        found = pwd.getpwnam(ACCOUNT)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise EmbeddedUnusable(
            "PostgreSQL does not run as root, and no account for it could be made. Run chiso as another "
            f"user, make an account named {ACCOUNT}, or set DATABASE_URL."
        ) from None
    log.warning("made the system account %s, because PostgreSQL does not run as root", ACCOUNT)
    return found


def let_search(folder: Path, account: Account) -> None:
    """As root: lets `account` pass through the parents of `folder`. Search only (o+x), never read, and only
    where it is missing; each change is logged."""
    if account.is_ours:
        return
    for parent in reversed(folder.parents):
        if not account.may_search(parent):
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | stat.S_IXOTH)
            log.warning("%s: others may now pass through it (o+x), for the account %s", parent, account.name)


def private_folder(folder: Path, account: Account) -> Path:
    """Makes `folder` with mode 0700 for `account`, or checks that it is just that (a link, another owner or
    wider rights may be somebody's trap where the parent is shared). Raises EmbeddedUnusable."""
    try:
        folder.mkdir(mode=0o700)
        if not account.is_ours:
            os.chown(folder, account.uid, account.gid)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise EmbeddedUnusable(
            f"{folder} must be a folder of {account.name} with mode 0700, and is not. Remove it, or choose "
            "another DATA_DIR."
        )
    return folder


def socket_folder(home: Path, account: Account) -> Path:
    """A 0700 folder for the socket: beside the data, or, where that path is too long for a socket or has
    letters that connection strings mangle, one named by a hash of the path, under XDG_RUNTIME_DIR or the
    temporary folder."""
    beside = home / "run"
    if _fits(beside):
        return private_folder(beside, account)
    name = "chiso-" + short_hash(home)
    for shared in _runtime_folders(account):
        if _fits(shared / name):
            chosen = private_folder(shared / name, account)
            log.warning("the path of %s does not suit a socket; it is in %s", home, chosen)
            return chosen
    raise EmbeddedUnusable(
        f"The path {home} is too long for a socket, and so are all others. Shorten DATA_DIR."
    )


def _runtime_folders(account: Account) -> Iterator[Path]:
    own = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    if own.is_dir() and account.is_ours:
        found = own.stat()
        if found.st_uid == account.uid and not found.st_mode & 0o077:
            yield own
    for shared in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 the folder made in it is checked
        # Without the sticky bit anybody could move our folder away and put theirs in its place.
        mode = shared.stat().st_mode
        if (mode & stat.S_ISVTX or not mode & 0o022) and (account.is_ours or account.may_search(shared)):
            yield shared


def _fits(folder: Path) -> bool:
    path = str(folder / SOCKET_NAME)
    return len(os.fsencode(path)) <= SOCKET_LIMIT and re.fullmatch(r"[A-Za-z0-9._/-]+", path) is not None


def short_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One at a time for a data folder. The lock goes with the process that held it, however that ended."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(data_dir / ".lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def kept_password(data_dir: Path, role: str, *, make: bool = True) -> str:
    """The password of a database role from DATA_DIR/credentials (JSON, 0600); made at the first call."""
    path = data_dir / "credentials"
    try:
        kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError):
        raise EmbeddedUnusable(
            f"{path} cannot be read. It holds the database's passwords: restore it."
        ) from None
    if role not in kept:
        if not make:
            raise EmbeddedUnusable(
                f"{path} has no password of the role {role}, though the database exists. Restore that file, "
                f"or move {data_dir} away and begin anew."
            )
        kept[role] = secrets.token_urlsafe(24)
        fd, name = tempfile.mkstemp(dir=data_dir, prefix=".credentials-")  # mode 0600
        with os.fdopen(fd, "w") as handle:
            json.dump(kept, handle)
            handle.flush()
            os.fsync(handle.fileno())
        Path(name).replace(path)
    return kept[role]
