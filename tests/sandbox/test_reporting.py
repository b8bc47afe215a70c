"""The reporting API as the sandbox plays it: shapes and traps of reporting-api.md §1–5, figures of its own dossiers."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import httpx
import pytest

from services.sandbox import scores
from services.sandbox.facts import units
from services.sandbox.reporting_bodies import department_id
from services.sandbox.world import World

BASE = "/reporting/evaluation"
ROOT = {"rootDepartmentId": department_id("H31")}
MONTH = {"timeType": "month", "year": 2026, "month": 9}


def ask(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"{BASE}/{path}", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    said = answer.json()
    assert (said["code"], said["message"]) == ("OK", "OK")
    return said["data"]


def by_id(rows: list[Any]) -> dict[str, Any]:
    return {row["departmentId"]: row for row in rows}


@pytest.fixture(scope="module")
def bodies(still_portals: httpx.Client) -> dict[str, Any]:
    """September, all endpoints."""
    dates = {"fromDate": "2026-09-01", "toDate": "2026-09-30"}
    return {
        "national": ask(still_portals, "service-results", **MONTH, departmentType="ADMINISTRATIVE_UNIT"),
        "province": ask(still_portals, "service-results", **MONTH, **ROOT),
        "E1": ask(still_portals, "transparency", **MONTH, **ROOT),
        "E2": ask(still_portals, "handling-satisfaction", **dates, **ROOT),
        "E3": ask(still_portals, "dossier-digitized", **MONTH, **ROOT),
        "E4": ask(still_portals, "dvc-progress-tree", **MONTH, **ROOT),
        "E5": ask(still_portals, "provide-online-tree", **MONTH, **ROOT),
        "E6": ask(still_portals, "formality-online-payment-tree", **MONTH, **ROOT),
    }


def test_only_post_is_served_and_the_kind_of_request_decides(still_portals: httpx.Client) -> None:
    assert still_portals.get(f"{BASE}/transparency").status_code == 405
    for body in ({}, {"timeType": "week"}, MONTH | {"month": 13}, MONTH | {"rootDepartmentId": "?"}):
        answer = still_portals.post(f"{BASE}/service-results", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


def test_the_country(bodies: dict[str, Any]) -> None:
    data = bodies["national"]
    assert len(data["evaluation"]) == 34
    assert {row["departmentCode"] for row in data["evaluation"]} >= {"H31", "H44", "H01", "H21"}
    for row in data["evaluation"]:
        assert set(row["groupScores"]) == {"CKMB", "TDGQ", "CLGQ", "TTTT", "MDHL", "MDSH"}
        parts = sum(Decimal(str(score)) for score in row["groupScores"].values())
        assert Decimal(str(row["totalScore"])) == parts
    assert [row["code"] for row in data["radar"]] == ["CKMB", "TDGQ", "ONLINE_SERVICE", "MDHL", "MDSH"]
    assert data["overview"]["departmentCode"] is None
    totals = [row["totalScore"] for row in data["evaluation"]]
    assert totals == sorted(totals, reverse=True)


def test_the_province_lists_its_units_without_groups(bodies: dict[str, Any]) -> None:
    rows = bodies["province"]["evaluation"]
    assert [row["childGroup"] for row in rows].count("AGENCY") == 12
    assert len(rows) == 116
    assert not any("groupScores" in row for row in rows)
    assert "departmentId" not in bodies["province"]["overview"]


def test_each_family_has_its_own_holes(bodies: dict[str, Any]) -> None:
    for name in ("E1", "E2"):
        assert not any("departmentCode" in row for row in bodies[name]["evaluation"])
    assert all("departmentCode" in row for row in bodies["E3"]["evaluation"])
    assert "totalOverdue" not in bodies["E4"]["parent"]
    assert all({"totalOverdue", "score", "maxScore"} <= set(row) for row in bodies["E4"]["children"])
    assert not any("totalScore" in row for row in bodies["E4"]["children"])
    assert set(bodies["E5"]["children"][0]) == {
        "departmentId", "departmentName", "departmentCode", "level", "totalScore", "totalMaxScore", "ratio",
        "scoreDelta",
    }  # fmt: skip
    assert "month" in bodies["E4"]["monthlyChart"][0]
    assert "label" in bodies["E5"]["monthlyChart"][0]
    assert "monthlyChart" not in bodies["E6"]
    codes = [row["departmentCode"] for row in bodies["E4"]["children"]]
    assert codes == sorted(codes)
    assert len(bodies["E4"]["children"]) == 116, "pageSize is ignored"
    assert len(bodies["E1"]["evaluation"]) == bodies["E1"]["pagination"]["total"] == 115


def test_the_month_view_has_one_month_in_its_chart(bodies: dict[str, Any]) -> None:
    shares = {each["month"]: each["onTimePct"] for each in bodies["E4"]["monthlyChart"]}
    assert [month for month, share in shares.items() if share] == ["09"]


def test_the_figures_are_those_of_the_dossiers(bodies: dict[str, Any], still_world: World) -> None:
    """Counted once more, plainly: what is on the national portal, was received before the end of September and not
    ended before its start."""
    begin, end = 1_788_195_600, 1_790_787_600  # 01/9 and 01/10/2026, 00:00 +07:00
    received = 0
    for dossier in still_world.dossiers:
        copy = still_world.national(dossier, still_world.now)
        if copy is None or copy.received_at is None or copy.received_at >= end:
            continue
        closed = next((s.at for s in reversed(copy.steps) if s.status == copy.status), None)
        ended = copy.finished_at or copy.returned_at or (closed if copy.status in (3, 7, 8, 9, 10) else None)
        received += ended is None or ended >= begin
    assert bodies["E4"]["parent"]["totalReceived"] == received > 500
    children = bodies["E4"]["children"]
    assert sum(row["totalReceived"] for row in children) == received
    for row in children:
        assert row["totalReceived"] == row["totalOnTime"] + row["totalOverdue"]
    digitised = by_id(bodies["E3"]["evaluation"])
    for row in children:
        if row["departmentId"] in digitised:
            metric = digitised[row["departmentId"]]["metrics"][0]
            assert metric["denominator"] == row["totalReceived"]


def test_counts_are_whole_numbers(bodies: dict[str, Any]) -> None:
    """JSON's true is no count, though Python's is."""

    def walk(value: Any) -> None:
        assert not isinstance(value, bool)
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(each)

    walk(bodies)


def test_totals_are_sums_of_the_groups(bodies: dict[str, Any]) -> None:
    totals = by_id(bodies["province"]["evaluation"])
    parts = [by_id(bodies[name]["evaluation"]) for name in ("E1", "E2", "E3")]
    trees = [by_id(bodies[name]["children"]) for name in ("E4", "E5", "E6")]
    checked = 0
    for identity, row in totals.items():
        found = [part[identity]["totalScore"] for part in parts if identity in part]
        found += [tree[identity].get("totalScore", tree[identity].get("score")) for tree in trees]
        if len(found) == 6:
            checked += 1
            assert Decimal(str(row["totalScore"])) == sum(Decimal(str(score)) for score in found)
    assert checked == 115


@pytest.mark.parametrize(
    ("code", "numerator", "denominator", "score"),
    [
        ("PROGRESS", 420877, 482812, 17.43),
        ("ORIGINAL_RESULT_AVAILABLE", 334394, 482812, 4.16),
        ("REUSED_DIGITIZED_DATA", 189221, 482812, 0.98),
        ("DOSSIER_RECEIVING_SATISFACTION", 420667, 482812, 5.81),
        ("PETITION_PROCESSING_ON_TIME", 297, 568, 3.14),
        ("PETITION_PROCESSING_ON_TIME", 0, 0, 6),
        ("PUBLISH_ON_TIME", 0, 0, None),
        ("PUBLISH_ON_TIME", 0, 51, 0),
        ("PAYMENT_DOSSIER", 292524, 338679, 5.18),
    ],
)
def test_published_scores(code: str, numerator: int, denominator: int, score: float | None) -> None:
    """Published rows of Hưng Yên (reporting-api.md §16): the played portal scores as the real one."""
    assert scores.points(code, numerator, denominator) == score


def test_ratios_are_half_up() -> None:
    assert scores.ratio(1, 800) == float(Decimal("0.125").quantize(Decimal("0.01"), ROUND_HALF_UP))


def test_a_filter_s_name_must_be_spelt_as_the_endpoint_wants(still_portals: httpx.Client) -> None:
    answer = still_portals.post(
        "/reporting/formalities", json={"q": "1.001612", "currentPage": 1, "pageSize": 10}
    )
    (found,) = answer.json()["data"]["items"]
    assert found["code"] == "1.001612"
    wanted = {**MONTH, **ROOT}
    whole = ask(still_portals, "dossier-digitized", **wanted)["overview"]
    ignored = ask(still_portals, "dossier-digitized", **wanted, formalityId=found["id"])["overview"]
    filtered = ask(still_portals, "dossier-digitized", **wanted, formalityID=found["id"])["overview"]
    assert ignored == whole
    assert filtered["metrics"][0]["denominator"] < whole["metrics"][0]["denominator"]
    assert "CITIZEN_DATA_CONNECTED_FORMALITY" not in {each["code"] for each in filtered["metrics"]}
    progress = ask(still_portals, "dvc-progress-tree", **wanted, formalityId=found["id"])["parent"]
    assert progress["totalReceived"] == filtered["metrics"][0]["denominator"]


def test_formalities(still_portals: httpx.Client) -> None:
    def page(**body: Any) -> Any:
        answer = still_portals.post("/reporting/formalities", json=body)
        assert answer.status_code == 201
        return answer.json()["data"]

    first = page(currentPage=1, pageSize=10)
    assert len(first["items"]) == 10
    assert first["pagination"]["totalPages"] == -(-first["pagination"]["total"] // 10)
    assert {
        "id",
        "code",
        "name",
        "state",
        "departmentId",
        "publishingDepartmentIds",
        "appliedDepartmentIds",
    } == set(first["items"][0])
    every = page(currentPage=1, pageSize=1000)["items"]
    assert {row["state"] for row in every} == {"ACTIVE", "INACTIVE"}
    assert all(row["appliedDepartmentIds"] == [] for row in every if row["state"] == "INACTIVE")
    assert page(q="không có thủ tục này")["items"] == []


def test_ids_are_stable_and_of_version_7() -> None:
    ids = [department_id(unit.code) for unit in units()]
    assert len(set(ids)) == 117
    assert {(each[14], each[19] in "89ab") for each in ids} == {("7", True)}
    assert department_id("H31") == department_id("H31")
