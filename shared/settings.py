"""What can be set from outside: environment variables, or a file `.env` in the working folder (which yields).

Names carry no prefix; each field below is set by its own name in capitals (`port` by PORT). An empty value
counts as not set. Nothing is read at import: call get_settings().
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from shared.calendar import TZ
from shared.errors import Invalid


class SettingsInvalid(Invalid):
    """One line per wrong setting in `en`, none of them with the value itself."""


def async_url(url: str) -> str:
    """Any spelling of a PostgreSQL address → the one that our engines take (postgresql+asyncpg://…, and `ssl`
    for libpq's `sslmode`). Raises ValueError for anything else, without repeating it: it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError(
            "is not an address of the form postgresql://user:password@host:5432/database"
        ) from None
    if parsed.drivername.split("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("must be a PostgreSQL address: postgresql://user:password@host:5432/database")
    query = {"ssl" if key == "sslmode" else key: value for key, value in parsed.query.items()}
    return parsed.set(drivername="postgresql+asyncpg", query=query).render_as_string(hide_password=False)


def _http(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


PostgresUrl = Annotated[str, AfterValidator(async_url)]
HttpUrl = Annotated[str, AfterValidator(_http)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """DATABASE_URL            address of a PostgreSQL ≥ 16 that the services use; none: the embedded server.
                               For `chiso up`: of a role that may make roles
    DATABASE_OWNER_URL         the owner's address, for migrations; none: the same as DATABASE_URL. With it,
                               DATABASE_URL is taken as the services' own role and no role is made
    DATA_DIR                   folder of the embedded server, of generated passwords and of the running state
    HOST, PORT                 where the API listens
    SANDBOX_PORT               where the sandbox portals listen; SANDBOX_SIZE: dossiers; SANDBOX_SEED
    NATIONAL_URL, NATIONAL_USERNAME, NATIONAL_PASSWORD, NATIONAL_UNIT
                               the national portal (portals.md §1), the unit in whose name we ask
    NATIONAL_LIST              true: the national portal has granted us DanhSachHoSo
    POPULATION_DB_CODES        JSON list of the codes (MaCSDL) by which messages name the population database.
                               Not verified: "7" is what one client sends, with every dossier
    LOOKUPS_PER_SECOND         TraCuuHoSo at most so often
    PROVINCIAL_URL, PROVINCIAL_CLIENT_ID, PROVINCIAL_CLIENT_SECRET
                               the provincial one-stop system (iGate)
    REPORTING_URL              the national portal's public reporting API (reporting-api.md §1); none: its figures are
                               not captured. Once a day, one call at a time, REPORTING_PAUSE_SECONDS apart
    SYNC_INTERVAL_SECONDS      pause between two pulls of a portal
    IMPORT_COLUMNS             a TOML file: what the columns of imported files are called; none: the shipped one
                               (services/ingest/files/columns.toml)
    PROVINCE_CODE              of the province, "H31"
    CHISO_NOW                  ISO 8601 with offset: stops the services' clock there (tests, sandbox)
    READY_AFTER_SUMMARY        true: /ready answers 200 only after the first sync and its summary
    CORS_ORIGINS               JSON list of the dashboards' origins that may read from a browser
    LOG_LEVEL                  DEBUG, INFO, WARNING or ERROR
    """

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    database_url: PostgresUrl | None = Field(default=None, repr=False)
    database_owner_url: PostgresUrl | None = Field(default=None, repr=False)
    data_dir: Path = Path(".data")
    host: str = "127.0.0.1"
    port: Port = 8000
    sandbox_port: Port = 8090
    sandbox_size: int = Field(default=20_000, ge=0)
    sandbox_seed: int = 766
    national_url: HttpUrl | None = None
    national_username: str | None = None
    national_password: SecretStr | None = None
    national_unit: str = "H31"
    national_list: bool = False
    population_db_codes: list[str] = Field(default_factory=lambda: ["7"])
    lookups_per_second: float = Field(default=20, gt=0)
    provincial_url: HttpUrl | None = None
    provincial_client_id: str | None = None
    provincial_client_secret: SecretStr | None = None
    reporting_url: HttpUrl | None = None
    reporting_pause_seconds: float = Field(default=1.5, ge=0, le=60)
    sync_interval_seconds: float = Field(default=300, gt=0)
    import_columns: Path | None = None
    province_code: str = Field(default="H31", pattern=r"^H\d{2}$")
    chiso_now: AwareDatetime | None = None
    ready_after_summary: bool = False
    cors_origins: list[str] = Field(default_factory=list)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def owner_url(self) -> str | None:
        """The address for migrations."""
        return self.database_owner_url or self.database_url

    def now(self) -> datetime:
        """The services' clock, in Việt Nam time."""
        return self.chiso_now.astimezone(TZ) if self.chiso_now else datetime.now(TZ)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read once a process. Raises SettingsInvalid."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = {str(item["loc"][0]).upper(): item["msg"] for item in error.errors(include_input=False)}
    except SettingsError as error:  # a list that is no JSON; its text names the field only
        wrong = {"settings": str(error)}
    except UnicodeDecodeError:
        wrong = {".env": "is not UTF-8 text"}
    except OSError as error:
        wrong = {".env": f"cannot be read: {error.strerror}"}
    raise SettingsInvalid(
        f"Cấu hình sai: {', '.join(wrong)}.",
        "\n".join(f"{name}: {message.removeprefix('Value error, ')}" for name, message in wrong.items()),
        field=next(iter(wrong)),
    )
