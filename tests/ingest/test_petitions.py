"""Petitions through POST /v1/petitions, and what stands in the tables afterwards."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest import naming, petitions_api, quarantine_api, receipts_api
from services.ingest.normalise import Refusal
from services.ingest.petition_messages import PetitionRow, PushedPetition, row_of
from services.ingest.petitions import accept_petitions
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import make
from tests.make import NOW, moment


def petition(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "code": f"PAKN.20260803.{number:04}",
        "kind": "tthc",
        "unit_code": "H31.135",
        "sent_at": "2026-08-03T09:00:00+07:00",
        **fields,
    }


def row(**fields: Any) -> PetitionRow:
    read = row_of(PushedPetition(**petition(**fields)), position=0, raw=b"", now=NOW)
    assert isinstance(read, PetitionRow), read
    return read


async def rows(engine: AsyncEngine, sql: str) -> list[Any]:
    async with session_scope(engine) as session:
        return [tuple(row) for row in await session.execute(text(sql))]


async def test_one_result_per_item_and_the_rest_goes_on(engine: AsyncEngine, settings: Settings) -> None:
    items = [
        petition(1, dossier_code="H31.135-260720-0007", likes=2, dislikes="1"),
        petition(2, kind="khác"),
        petition(3, sent_at=None),
        petition(4, sent_at="2026-02-31T09:00:00+07:00"),
        petition(5, handled_at="2027-01-01T00:00:00+07:00"),
        petition(6, likes=-1),
        petition(7, repeats_code="PAKN.20260803.0007"),
        petition(8, dossier_code="Nguyễn Văn A"),
        petition(9, code="033099007421"),
        petition(10, code="Nguyễn Văn A"),
        petition(11, likes={"a": 1}),
        {"kind": "tthc"},
        petition(12, kind="staff", repeats_code="PAKN.20260803.0001"),
        17,
    ]
    async with make.client(engine, settings, petitions_api.router, role=Role.INTEGRATOR) as http:
        answer = await http.post("/v1/petitions", json=items)
    assert answer.status_code == 200, answer.text
    content = answer.json()
    assert content["counts"] == {"accepted": 2, "unchanged": 0, "stale": 0, "rejected": 12}
    refused = {item["index"]: item["field"] for item in content["items"] if item["result"] == "rejected"}
    assert refused == {
        1: "kind",
        2: "sent_at",
        3: "sent_at",
        4: "handled_at",
        5: "likes",
        6: "repeats_code",
        7: "dossier_code",
        8: "code",
        9: "code",
        10: "likes",
        11: "code",
        13: "item",
    }
    assert [item["code"] for item in content["items"]][:9] == [
        f"PAKN.20260803.{n:04}" for n in range(1, 9)
    ] + [None]
    assert content["items"][10]["code"] == "PAKN.20260803.0011"
    stored = await rows(
        engine, "SELECT code, kind, dossier_code, repeats_code, likes, dislikes FROM petition ORDER BY 1"
    )
    assert stored == [
        ("PAKN.20260803.0001", "tthc", "H31.135-260720-0007", None, 2, 1),
        ("PAKN.20260803.0012", "staff", None, "PAKN.20260803.0001", 0, 0),
    ]
    kept = str(await rows(engine, "SELECT code, content, dropped FROM quarantine"))
    assert "PAKN.20260803.0002" in kept
    assert "Nguyễn" not in kept
    assert "033099007421" not in kept


async def test_newer_wins_older_is_stale_same_is_unchanged(engine: AsyncEngine, settings: Settings) -> None:
    older = petition(received_at="2026-08-04T09:00:00+07:00")
    newer = petition(received_at="2026-08-04T09:00:00+07:00", handled_at="2026-08-06T09:00:00+07:00")
    liked = newer | {"likes": 3, "updated_at": "2026-08-07T09:00:00+07:00"}
    async with make.client(engine, settings, petitions_api.router) as http:
        results = []
        for item in (newer, older, newer, liked, newer):
            answer = await http.post("/v1/petitions", json=[item])
            results.append(answer.json()["items"][0]["result"])
        twice = await http.post("/v1/petitions", json=[liked, older, liked])
    assert results == ["accepted", "stale", "unchanged", "accepted", "stale"]
    assert [item["result"] for item in twice.json()["items"]] == ["unchanged", "stale", "unchanged"]
    assert await rows(engine, "SELECT likes, handled_at IS NOT NULL FROM petition") == [(3, True)]


async def test_a_wrong_time_is_told_the_form_of_this_door(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(engine, settings, petitions_api.router) as http:
        answer = await http.post("/v1/petitions", json=[petition(1, handled_at="2026-02-31")])
    (item,) = answer.json()["items"]
    assert item["field"] == "handled_at"
    assert "cần dạng 2026-08-03T09:30:00+07:00 (ISO 8601)" in item["reason_vi"]
    assert "expected ISO 8601" in item["reason"]


async def test_what_cannot_be_read_as_an_array_is_refused_as_a_whole(
    engine: AsyncEngine, settings: Settings
) -> None:
    async with make.client(engine, settings, petitions_api.router) as http:
        for body, status in ((b"[{", 400), (b"{}", 422), (b"", 400), (b"[" * 5000, 400)):
            answer = await http.post(
                "/v1/petitions", content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == status, answer.text
        lines = await http.post(
            "/v1/petitions", content=b"{}\n", headers={"Content-Type": "application/x-ndjson"}
        )
        assert (lines.status_code, lines.json()["field"]) == (415, "Content-Type")
        deep = (
            b'[{"code": "P1", "kind": ' + b"[" * 5000 + b"]" * 5000 + b'}, {"code": "P2", "kind": "other", '
        )
        answer = await http.post(
            "/v1/petitions",
            content=deep + b'"sent_at": "2026-08-03T09:00:00+07:00"}]',
            headers={"Content-Type": "application/json"},
        )
        assert [item["result"] for item in answer.json()["items"]] == ["rejected", "accepted"]
        assert (await http.post("/v1/petitions", json=[])).json()["receipt"] is None


async def test_a_receipt_tells_every_petition(engine: AsyncEngine, settings: Settings) -> None:
    async with make.client(
        engine, settings, petitions_api.router, receipts_api.router, role=Role.INTEGRATOR
    ) as http:
        pushed = await http.post("/v1/petitions", json=[petition(1), petition(2, kind="x")])
        receipt = (await http.get(f"/v1/pushes/{pushed.json()['receipt']}")).json()
        listed = (await http.get("/v1/pushes", params={"door": "petitions"})).json()["items"]
    assert (receipt["door"], receipt["state"], len(listed)) == ("petitions", "partly", 1)
    assert [(item["code"], item["result"], item["field"]) for item in receipt["items"]] == [
        ("PAKN.20260803.0001", "accepted", None),
        ("PAKN.20260803.0002", "rejected", "kind"),
    ]


async def test_a_refused_petition_is_read_again(engine: AsyncEngine, settings: Settings) -> None:
    routers = (petitions_api.router, quarantine_api.router)
    ahead = petition(handled_at=(NOW + timedelta(days=3)).isoformat(), repeats_code="PAKN.20260701.0001")
    named = petition(2, kind="x", unit_name="Nguyễn Văn Mẫu")
    async with make.client(engine, settings, *routers) as http:
        await http.post("/v1/petitions", json=[ahead, named])
    there = settings.model_copy(update={"chiso_now": NOW + timedelta(days=7)})
    async with make.client(engine, there, *routers) as http:
        items = {item["code"]: item for item in (await http.get("/v1/quarantine")).json()["items"]}
        first, second = items["PAKN.20260803.0001"], items["PAKN.20260803.0002"]
        assert (first["replayable"], second["replayable"]) == (True, False)
        assert second["dropped"] == ["kind", "unit_name"]
        answer = await http.post(f"/v1/quarantine/{first['id']}/replay")
        assert answer.json()["result"] == "accepted"
        assert (await http.post(f"/v1/quarantine/{second['id']}/replay")).status_code == 409
    stored = await rows(engine, "SELECT code, repeats_code FROM petition")
    assert stored == [("PAKN.20260803.0001", "PAKN.20260701.0001")]


async def test_dossiers_that_are_named_are_counted_again(engine: AsyncEngine, settings: Settings) -> None:
    first, second = "H31.135-260720-0007", "H31.135-260720-0008"
    changes = "SELECT consumer, unnest(codes) FROM change ORDER BY id"
    async with make.client(engine, settings, petitions_api.router) as http:
        await http.post("/v1/petitions", json=[petition(1, dossier_code=first), petition(2)])
        assert await rows(engine, changes) == [("indicators", first)]
        moved = petition(1, dossier_code=second, updated_at="2026-08-09T09:00:00+07:00")
        await http.post("/v1/petitions", json=[moved, petition(2)])
        assert sorted(await rows(engine, changes))[1:] == [("indicators", first), ("indicators", second)]
        await http.post("/v1/petitions", json=[moved])
        assert len(await rows(engine, changes)) == 3


async def test_whose_a_petition_is_and_a_name_that_is_told_later(session: AsyncSession) -> None:
    await make.units(session)
    sent: list[PetitionRow | Refusal] = [
        row(number=1),
        row(number=2, unit_code=None, unit_name="UBND phường Sơn Nam"),
        row(number=3, unit_code=None, dossier_code="H31.136-260720-0007"),
        row(number=4, unit_code=None, unit_name="Bộ phận Một cửa số 7"),
        row(number=5, unit_code=None),
    ]

    async def units() -> list[tuple[Any, ...]]:
        found = await session.execute(text("SELECT unit_code, unit_via FROM petition ORDER BY code"))
        return [tuple(each) for each in found]

    await accept_petitions(session, sent, via="push", door="petitions", sender="k", now=NOW)
    told = [
        ("H31.135", "agency_code"),
        ("H31.136", "alias"),
        ("H31.136", "dossier_code"),
        (None, "none"),
        (None, "none"),
    ]
    assert await units() == told
    later = NOW + timedelta(minutes=5)
    await naming.put_alias(
        session,
        name="Bộ phận Một cửa số 7",
        unit_code="H31.16",
        valid_from=None,
        valid_to=None,
        by="k",
        now=later,
    )
    assert await units() == [*told[:3], ("H31.16", "alias"), (None, "none")]
    changed = await session.scalar(text("SELECT count(*) FROM petition WHERE learnt_at = :at"), {"at": later})
    assert changed == 1, "as_of follows"
    await naming.remove_alias(session, name="Bộ phận Một cửa số 7", valid_from=None, now=later)
    assert await units() == told


MESSAGES = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.sampled_from(["tthc", "staff", "other"]),
        st.sampled_from([None, "H31.135-260720-0007", "H31.136-260720-0008"]),
        st.sampled_from([None, "PAKN.20260803.0001"]),
        st.sampled_from(["H31.135", "H31.136", None]),
        st.booleans(),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=MESSAGES, shuffle=st.randoms(use_true_random=False))
async def test_any_order_repetition_and_split_ends_in_the_same_rows(
    session: AsyncSession, told: list[Any], shuffle: random.Random
) -> None:
    messages = [
        row(
            number=number,
            kind=kind,
            dossier_code=dossier,
            repeats_code=repeats if number > 1 else None,
            unit_code=unit,
            handled_at=(moment("2026-08-05") + timedelta(hours=n)).isoformat() if handled else None,
            likes=likes,
            updated_at=(moment("2026-08-10") + timedelta(hours=n)).isoformat(),
        )
        for n, (number, kind, dossier, repeats, unit, handled, likes) in enumerate(told)
    ]
    sent = messages + shuffle.choices(messages, k=len(messages) // 2)
    shuffle.shuffle(sent)
    outcomes = []
    for order in (messages, sent):
        async with session.begin_nested() as undone:
            rest = list(order)
            while rest:
                size = shuffle.randint(1, len(rest))
                await accept_petitions(
                    session, rest[:size], via="push", door="petitions", sender="k", now=NOW
                )
                rest = rest[size:]
            stored = await session.execute(text("SELECT * FROM petition ORDER BY code"))
            outcomes.append([tuple(each) for each in stored])
            queued = await session.execute(text("SELECT DISTINCT unnest(codes) FROM change"))
            named = {code for (code,) in queued}
            await undone.rollback()
        assert {each[2] for each in outcomes[-1]} - {None} <= named
    assert outcomes[0] == outcomes[1]
