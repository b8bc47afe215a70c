"""Keys: made once, shown once, kept as a hash, ended at once."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared import access
from shared.access import Principal
from shared.errors import Forbidden, Invalid, NotFound, Unauthenticated
from shared.models import ApiKey
from shared.vocabulary import Role
from tests import make
from tests.make import NOW


async def create(session: AsyncSession, role: Role = Role.READER, unit: str = "H31") -> tuple[str, str]:
    return await access.create_key(session, role=role, unit_code=unit, now=NOW, by="test", note="thử")


async def test_a_key_lets_in_whoever_holds_it(session: AsyncSession) -> None:
    await make.units(session)
    key_id, key = await create(session, Role.UNIT, "H31.135")
    assert await access.authenticate(session, key) == Principal(key_id, Role.UNIT, "H31.135")
    assert key.startswith(key_id + ".")
    assert len(key.partition(".")[2]) >= 43, "256 bits"


async def test_only_the_hash_is_kept(session: AsyncSession) -> None:
    key_id, key = await create(session)
    secret = key.partition(".")[2]
    stored = await session.scalar(
        text("SELECT to_jsonb(k)::text FROM api_key k WHERE id = :id"), {"id": key_id}
    )
    assert secret not in str(stored)
    assert (await session.get_one(ApiKey, key_id)).secret_hash == hashlib.sha256(key.encode()).digest()


async def test_no_two_keys_are_alike(session: AsyncSession) -> None:
    assert len({key for _ in range(50) for key in await create(session)}) == 100


@pytest.mark.parametrize(
    "change", ["", "x", "{key}x", "{id}", "{id}.", "{other}.{secret}", ".{secret}", "é", "\0"]
)
async def test_anything_else_is_not_let_in_and_not_told_why(session: AsyncSession, change: str) -> None:
    key_id, key = await create(session)
    other, _ = await create(session)
    wrong = change.format(key=key, id=key_id, other=other, secret=key.partition(".")[2])
    with pytest.raises(Unauthenticated) as caught:
        await access.authenticate(session, wrong)
    with pytest.raises(Unauthenticated) as unknown:
        await access.authenticate(session, "k00000000.AAAA")
    assert (caught.value.vi, caught.value.en) == (unknown.value.vi, unknown.value.en)


async def test_a_revoked_key_ends_at_once_and_once(session: AsyncSession) -> None:
    key_id, key = await create(session)
    await access.revoke_key(session, key_id, now=NOW)
    with pytest.raises(Unauthenticated):
        await access.authenticate(session, key)
    for gone in (key_id, "k00000000"):
        with pytest.raises(NotFound):
            await access.revoke_key(session, gone, now=NOW)
    session.expire_all()
    assert (await session.get_one(ApiKey, key_id)).revoked_at == NOW


async def test_the_list_has_all_keys_in_order(session: AsyncSession) -> None:
    before = {row.id for row in await access.list_keys(session)}
    made = [(await create(session, role))[0] for role in (Role.READER, Role.CENTRE)]
    await access.revoke_key(session, made[0], now=NOW)
    listed = [row for row in await access.list_keys(session) if row.id not in before]
    assert {row.id for row in listed} == set(made)
    assert {(row.role, row.note, row.created_by, row.revoked_at) for row in listed} == {
        ("reader", "thử", "test", NOW),
        ("centre", "thử", "test", None),
    }


async def test_a_unit_must_be_known_and_is_kept_in_its_own_form(session: AsyncSession) -> None:
    with pytest.raises(NotFound):
        await create(session, Role.UNIT, "H31.135")
    await make.units(session)
    _, key = await create(session, Role.UNIT, "000.00.135.H31")
    assert (await access.authenticate(session, key)).unit_code == "H31.135"
    with pytest.raises(NotFound):
        await create(session, Role.UNIT, "H31.999")
    with pytest.raises(Invalid):
        await create(session, Role.UNIT, "phường Phố Hiến")


@pytest.mark.parametrize("role", list(Role))
async def test_roles_that_act_for_all_units_belong_to_the_province(session: AsyncSession, role: Role) -> None:
    await make.units(session)
    assert await create(session, role)
    if role in (Role.UNIT, Role.READER):
        assert await create(session, role, "H31.135")
    else:
        with pytest.raises(Invalid):
            await create(session, role, "H31.135")


def test_a_key_sees_its_unit_and_what_is_below() -> None:
    commune = Principal("k", Role.UNIT, "H31.13")
    assert commune.sees("H31.13")
    assert commune.sees("H31.13.02")
    for other in ("H31", "H31.135", "H31.1", "H30.13", None):
        assert not commune.sees(other)
        with pytest.raises(Forbidden):
            commune.check(other)
    province = Principal("k", Role.READER, "H31")
    assert province.sees(None)
    assert province.sees("H31.135")
    assert not province.sees("H30")


@pytest.mark.parametrize("role", list(Role))
async def test_no_key_of_another_province(session: AsyncSession, role: Role) -> None:
    with pytest.raises(NotFound):
        await create(session, role, "H48")
