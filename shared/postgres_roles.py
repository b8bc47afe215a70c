"""The two roles of the database, on the embedded server or any other.

chiso_owner   owns the database and its tables; only migrations connect as it
chiso_app     reads and writes rows, owns nothing, makes nothing; the services connect as it
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from shared.errors import Invalid, Unavailable
from shared.postgres_folders import kept_password, locked
from shared.settings import async_url

log = logging.getLogger(__name__)

OWNER = "chiso_owner"
APP = "chiso_app"
PLAIN = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE"
OLDEST = 160_000
"""server_version_num of PostgreSQL 16."""


class DatabaseUnusable(Invalid):
    """A server that answers, but cannot be used like this; `en` says what to do."""

    def __init__(self, en: str) -> None:
        super().__init__("Cơ sở dữ liệu chưa dùng được. Hãy xem thông báo kỹ thuật kèm theo.", en)


class DatabaseUnreachable(Unavailable):
    def __init__(self, en: str) -> None:
        super().__init__("Không kết nối được cơ sở dữ liệu.", en)


@dataclass(frozen=True)
class Provisioned:
    """Addresses for create_async_engine. They hold passwords."""

    owner_url: str = field(repr=False)
    app_url: str = field(repr=False)


async def provision(
    admin_url: str, *, data_dir: Path, database: str = "chiso", app_url: str | None = None
) -> Provisioned:
    """Makes what is missing of database, roles and rights; a second call changes nothing.

    admin_url: a superuser, or a role that may make roles and databases, or just the owner of `database`. In
    the last case app_url must be the address of a role that somebody has made for the services.
    app_url: the services' role and its password as somebody chose them; made, or given that password, where
    admin_url may make roles.
    data_dir: keeps the passwords that are generated (`credentials`, 0600): of the roles that no address names.

    Raises DatabaseUnreachable, DatabaseUnusable (older than 16, rights that are missing, a database of
    somebody else), EmbeddedUnusable (credentials that cannot be read).
    """
    admin_url = async_url(admin_url)
    async with _connected(admin_url, database) as connection:
        await _check_version(connection)
        # Two that provision one server at a time would both find the roles missing.
        await connection.exec_driver_sql("SELECT pg_advisory_lock(hashtext('chiso.provision'))")
        roles = await connection.exec_driver_sql(
            "SELECT rolname, rolsuper OR rolcreaterole AS may_make FROM pg_roles WHERE rolname = current_user"
        )
        me, may_make_roles = tuple(roles.one())
        databases = await connection.exec_driver_sql(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding) FROM pg_database"
            " WHERE datname = $1",
            (database,),
        )
        owner, encoding = tuple(databases.one_or_none() or (None, "UTF8"))
        if encoding != "UTF8":
            raise DatabaseUnusable(f"The database {database} has the encoding {encoding}; UTF8 is needed.")
        if owner not in (None, OWNER, me):
            raise DatabaseUnusable(
                f"The database {database} belongs to the role {owner}. Connect as that role, or name a "
                "database that does not exist yet."
            )
        if not may_make_roles and (app_url is None or owner != me):
            raise DatabaseUnusable(
                f"The role {me} may not make roles. Either give DATABASE_URL of one that may, or have a "
                f"database of which {me} is the owner and a role {APP} made, and give the owner's address as "
                "DATABASE_OWNER_URL and that role's as DATABASE_URL."
            )
        owner_url = _with(admin_url, database)
        if owner != me:
            owner_url = await _role(connection, owner_url, OWNER, data_dir)
        if owner is None:
            await connection.exec_driver_sql(f"GRANT {OWNER} TO CURRENT_USER")
            await connection.exec_driver_sql(
                f"CREATE DATABASE {_quoted(database)} OWNER {OWNER} ENCODING 'UTF8' TEMPLATE template0"
            )
        if app_url is None:
            app_url = await _role(connection, owner_url, APP, data_dir)
        elif may_make_roles:
            await _given_role(connection, _with(async_url(app_url), database), me)
    app_url = _with(async_url(app_url), database)
    await _grant(owner_url, database, make_url(app_url).username or APP)
    await check_app_role(app_url)
    return Provisioned(owner_url, app_url)


async def check_app_role(url: str) -> None:
    """Raises DatabaseUnusable if the role of this address could do more than read and write rows: superuser,
    maker of roles or databases, owner of the database or of a table, or allowed to make tables."""
    async with _connected(async_url(url)) as connection:
        await _check_version(connection)
        checks = (
            await connection.exec_driver_sql(
                """
                SELECT rolsuper, rolcreaterole, rolcreatedb,
                       EXISTS (SELECT FROM pg_database
                               WHERE datname = current_database()
                                 AND pg_has_role(current_user, datdba, 'MEMBER')),
                       EXISTS (SELECT FROM pg_class
                               WHERE relnamespace = to_regnamespace('public')
                                 AND pg_has_role(current_user, relowner, 'MEMBER')),
                       has_schema_privilege('public', 'CREATE')
                FROM pg_roles WHERE rolname = current_user
                """
            )
        ).one()
    names = (
        "is a superuser",
        "may make roles",
        "may make databases",
        "owns the database",
        "owns tables",
        "may make tables",
    )
    wrong = [name for name, found in zip(names, checks, strict=True) if found]
    if wrong:
        raise DatabaseUnusable(
            f"The services must not connect as the role {make_url(url).username}: it {', '.join(wrong)}. "
            f"Give DATABASE_URL of a plain role; `chiso up` makes one ({APP})."
        )


async def _check_version(connection: AsyncConnection) -> None:
    result = await connection.exec_driver_sql("SELECT current_setting('server_version_num')::int")
    version = int(result.scalar_one())
    if version < OLDEST:
        raise DatabaseUnusable(f"PostgreSQL {version // 10000} is too old: 16 or newer is needed.")


async def _role(connection: AsyncConnection, url: str, role: str, data_dir: Path) -> str:
    """The address of `role`, which is made, or given the kept password, if need be."""
    with locked(data_dir):
        password = kept_password(data_dir, role)
    url = make_url(url).set(username=role, password=password).render_as_string(hide_password=False)
    found = await connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = $1", (role,))
    # The verifier, not the password: what is sent may stand in the server's log.
    verifier = scram_verifier(password)
    if found.first() is None:
        await connection.exec_driver_sql(f"CREATE ROLE {role} {PLAIN} PASSWORD '{verifier}'")
    elif not await _can_log_in(url):
        log.warning("%s has a new password, kept in %s; other installations lose it", role, data_dir)
        await connection.exec_driver_sql(f"ALTER ROLE {role} LOGIN PASSWORD '{verifier}'")
    return url


async def _given_role(connection: AsyncConnection, url: str, me: str) -> None:
    """Makes the role of this address, or gives it the address's password: a new one begins with a migrate. Roles that
    are more than plain, and our own, keep theirs: check_app_role refuses them afterwards."""
    parsed = make_url(url)
    role, password = parsed.username, parsed.password
    if not role or password is None or role == me:
        return
    found = await connection.exec_driver_sql(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = $1", (role,)
    )
    strong = found.scalar_one_or_none()
    verifier = scram_verifier(str(password))
    if strong is None:
        await connection.exec_driver_sql(f"CREATE ROLE {_quoted(role)} {PLAIN} PASSWORD '{verifier}'")
    elif not strong and not await _can_log_in(url):
        log.warning("%s gets the password of DATABASE_URL; who uses another one loses its access", role)
        await connection.exec_driver_sql(f"ALTER ROLE {_quoted(role)} LOGIN PASSWORD '{verifier}'")


async def _can_log_in(url: str) -> bool:
    """Also true where only the database is missing: that is found after the password was right."""
    try:
        async with _connected(url):
            return True
    except DatabaseUnreachable as error:
        return _lacks_database(error.__cause__)


async def _grant(owner_url: str, database: str, app: str) -> None:
    role, name = _quoted(app), _quoted(database)
    async with _connected(owner_url) as connection:
        for statement in (
            f"ALTER DATABASE {name} SET timezone TO 'UTC'",
            f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {role}",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA public "
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, USAGE ON SEQUENCES TO {role}",
        ):
            await connection.exec_driver_sql(statement)


@asynccontextmanager
async def _connected(url: str, may_lack: str | None = None) -> AsyncIterator[AsyncConnection]:
    """One connection in autocommit (CREATE DATABASE needs it). `may_lack`: a database that may not exist yet;
    if the address names just that one, the connection goes to `postgres`."""
    parsed = make_url(url)
    engine = create_async_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        try:
            connection = engine.connect()
            await connection
        except DBAPIError as error:
            if not _lacks_database(error) or may_lack is None or parsed.database != may_lack:
                raise
            await engine.dispose()
            engine = create_async_engine(
                parsed.set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
            )
            connection = engine.connect()
            await connection
    except (OSError, DBAPIError) as error:
        await engine.dispose()
        where = parsed.host or parsed.query.get("host")
        said = _drivers(error)
        raise DatabaseUnreachable(
            f"No connection to PostgreSQL at {where}: {str(said) or type(said).__name__}"
        ) from error
    try:
        yield connection
    except DBAPIError as error:
        raise DatabaseUnusable(f"PostgreSQL refused a step of the preparation: {_drivers(error)}") from None
    finally:
        await connection.close()
        await engine.dispose()


def _drivers(error: BaseException | None) -> BaseException | None:
    """What asyncpg itself said, under SQLAlchemy's two wrappers."""
    orig = error.orig if isinstance(error, DBAPIError) else error
    return getattr(orig, "__cause__", None) or orig


def _lacks_database(error: BaseException | None) -> bool:
    return isinstance(_drivers(error), asyncpg.InvalidCatalogNameError)


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803); computed here so that the password is never sent."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256$4096:{text[0]}${text[1]}:{text[2]}"


def _with(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
