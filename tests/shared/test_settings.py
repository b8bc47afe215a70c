"""What is set from outside, and what is said when it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import Settings, SettingsInvalid, async_url, get_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Away from the developer's own .env and from what get_settings() remembers."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


def test_file_and_environment(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / ".env").write_text("PORT=9000\nSANDBOX_SIZE=5\nOF_ANOTHER_PROGRAM=1\n")
    monkeypatch.setenv("PORT", "9001")
    monkeypatch.setenv("HOST", "")
    settings = get_settings()
    assert (settings.port, settings.sandbox_size, settings.host) == (9001, 5, "127.0.0.1")
    assert get_settings() is settings


def test_every_wrong_setting_is_a_line_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "70000")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:secret@host/x")
    monkeypatch.setenv("NATIONAL_URL", "secret")
    monkeypatch.setenv("CHISO_NOW", "2026-08-01T00:00:00")
    with pytest.raises(SettingsInvalid) as caught:
        get_settings()
    lines = caught.value.en.splitlines()
    assert [line.split(":")[0] for line in lines] == ["DATABASE_URL", "PORT", "NATIONAL_URL", "CHISO_NOW"]
    assert "secret" not in caught.value.en


def test_a_list_that_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "secret")
    with pytest.raises(SettingsInvalid, match="cors_origins") as caught:
        get_settings()
    assert "secret" not in caught.value.en


def test_a_file_that_is_no_text(elsewhere: Path) -> None:
    (elsewhere / ".env").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsInvalid, match=r"\.env"):
        get_settings()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://a:b%2Fc@h:5/d", "postgresql+asyncpg://a:b%2Fc@h:5/d"),
        ("postgresql://a@h/d?sslmode=require", "postgresql+asyncpg://a@h/d?ssl=require"),
        ("postgresql+asyncpg://a@/d?host=%2Frun", "postgresql+asyncpg://a@/d?host=%2Frun"),
    ],
)
def test_spellings_of_an_address(given: str, expected: str) -> None:
    assert async_url(given) == expected


@pytest.mark.parametrize("given", ["", "secret", "mysql://a:secret@h/d", "postgresql://a:secret@h:port/d"])
def test_what_is_no_address(given: str) -> None:
    with pytest.raises(ValueError, match="postgresql://user:password") as caught:
        async_url(given)
    assert "secret" not in str(caught.value)


def test_the_clock_can_be_stopped() -> None:
    settings = Settings(_env_file=None, chiso_now="2026-08-31T18:00:00Z")  # type: ignore[call-arg, arg-type]
    assert settings.now().isoformat() == "2026-09-01T01:00:00+07:00"
    assert Settings(_env_file=None).now().utcoffset() == settings.now().utcoffset()  # type: ignore[call-arg]


def test_passwords_are_not_shown() -> None:
    settings = Settings(_env_file=None, database_url="postgresql://a:hidden@h/d", national_password="hidden")  # type: ignore[call-arg, arg-type]
    assert "hidden" not in repr(settings)
