"""What is read from the reporting API's bodies: the published figures of Hưng Yên (year 2026, seen on 10/10/2026), and
everything that a body can do wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.portals import reporting_messages as messages
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalBlocked, PortalRefused
from services.ingest.portals.reporting import PortalLimited, judged
from services.ingest.portals.reporting_messages import NATION, TOTAL, Figure, ReportInvalid, read
from services.ingest.portals.reporting_requests import GROUPS, PATHS, Endpoint, request
from shared.calendar import Period
from shared.vocabulary import Given

ROOT = UUID("019d2be3-6a88-732b-8b0b-a4fad4f39fbc")
UNIT = "00000000-0000-7000-8000-000000000001"
HEAD = {"departmentId": str(ROOT), "departmentName": "UBND tỉnh Hưng Yên\n", "departmentCode": "H31"}
PARENT = HEAD | {
    "totalReceived": 482812, "totalOnTime": 420877, "avgProcessingDays": 3.13, "ratio": 87.17,
    "totalScore": 17.43, "totalMaxScore": 20,
}  # fmt: skip
CHILD = {
    "departmentId": UNIT, "departmentName": "UBND xã Như Quỳnh", "departmentCode": "H31.100", "level": "COMMUNE",
    "totalReceived": 5200, "totalOnTime": 4700, "totalOverdue": 500, "ratio": 90.38, "score": 18.08, "maxScore": 20,
    "scoreDelta": None, "somethingNew": {"a": [1]},
}  # fmt: skip
METRICS: list[dict[str, Any]] = [
    {"code": "PUBLISH_ON_TIME", "numerator": 0, "denominator": 51, "ratio": 0, "score": 0, "maxScore": 6},
    {
        "code": "PUBLIC_CONTENT_FULL",
        "numerator": 0,
        "denominator": 0,
        "ratio": None,
        "score": None,
        "maxScore": 2,
    },
    {"code": "ELECTRONIC_CERTIFIED_COPY", "numerator": None, "denominator": None, "ratio": 100, "score": 2},
    {
        "code": "DOSSIER_SYNC",
        "numerator": 399243,
        "denominator": 399243,
        "ratio": 100,
        "score": 6,
        "maxScore": 6,
    }
    | {"dataQualityStatus": "A_STATUS_OF_TOMORROW"},
]


def body(data: Any, **envelope: Any) -> bytes:
    return json.dumps({"code": "OK", "message": "OK", "data": data} | envelope).encode()


def tree(parent: dict[str, Any] = PARENT, *children: dict[str, Any]) -> bytes:
    return body({"parent": parent, "children": list(children or (CHILD,)), "monthlyChart": [{"month": "01"}]})


def metrics(*found: dict[str, Any], **more: Any) -> bytes:
    row = {"departmentId": UNIT, "departmentName": "Sở Y tế", "departmentType": "PROVINCIAL_DEPARTMENT"}
    row |= {"totalScore": 8, "totalMaxScore": 18, "ratio": 44.44, "metrics": list(found or METRICS)}
    head = row | {"departmentId": str(ROOT), "departmentName": "UBND tỉnh Hưng Yên"}
    return body({"overview": head, "evaluation": [row], "pagination": {"total": 1}, "source": "a, b"} | more)


def figures(endpoint: Endpoint, raw: bytes, unit: object = ROOT) -> dict[str, Figure]:
    report = read(endpoint, raw, root=ROOT)
    return {each.component: each for each in report.figures if str(each.department_id) == str(unit)}


def test_progress() -> None:
    found = figures(Endpoint.PROGRESS, tree())
    assert found["PROGRESS_ON_TIME"][2:8] == (
        31, 420877, 482812, Decimal("87.17"), Decimal("17.43"), Decimal(20),
    )  # fmt: skip
    counts = found[TOTAL].counts
    assert counts is not None
    assert "totalOverdue" not in counts, "the parent tells none: that is not 0"
    assert counts["totalReceived"] == 482812
    child = figures(Endpoint.PROGRESS, tree(), UNIT)
    assert child["PROGRESS_ON_TIME"].score == child[TOTAL].score == Decimal("18.08")
    assert (child[TOTAL].counts or {})["totalOverdue"] == 500
    rows = read(Endpoint.PROGRESS, tree(), root=ROOT).rows
    assert [(row.code, row.name, row.kind) for row in rows] == [
        ("H31", "UBND tỉnh Hưng Yên", "province"),
        ("H31.100", "UBND xã Như Quỳnh", "commune"),
    ]


def test_null_zero_and_missing_are_three_things() -> None:
    found = figures(Endpoint.TRANSPARENCY, metrics())
    zero, empty, constant = (
        found[code] for code in ("PUBLISH_ON_TIME", "PUBLIC_CONTENT_FULL", "ELECTRONIC_CERTIFIED_COPY")
    )
    assert (zero.numerator, zero.denominator, zero.score, zero.given) == (0, 51, 0, 31)
    assert (empty.numerator, empty.denominator, empty.score, empty.ratio, empty.given) == (
        0,
        0,
        None,
        None,
        31,
    )
    assert (constant.numerator, constant.score, constant.max_score) == (None, 2, None)
    assert constant.given == Given.NUMERATOR | Given.DENOMINATOR | Given.RATIO | Given.SCORE, "no maxScore"
    assert found["DOSSIER_SYNC"].data_quality == "A_STATUS_OF_TOMORROW"
    report = read(Endpoint.TRANSPARENCY, metrics(), root=ROOT)
    assert (report.source, report.total) == ("a, b", 1)
    assert report.rows[1].code is None, "E1 and E2 tell no codes"


def test_children_of_online_service_have_no_counts() -> None:
    parent = HEAD | {"totalScore": 6.93, "authorityCount": 89, "partialCount": 40, "fullCount": 12}
    parent |= {
        "onlineDossierCount": 0,
        "onlineServiceTotal": None,
        "channelOnlineSum": 1,
        "channelTotalSum": 2,
    }
    child = {key: CHILD[key] for key in ("departmentId", "departmentName", "level")} | {"totalScore": 5.0}
    found = figures(Endpoint.ONLINE_SERVICE, tree(parent, child))
    assert found["PROVIDE_ONLINE"][2:5] == (3, 52, 89)
    assert found["ONLINE_SERVICE_USED"][2:5] == (3, 0, None)
    assert [figures(Endpoint.ONLINE_SERVICE, tree(parent, child), UNIT)[code].given for code in (
        "PROVIDE_ONLINE", "ONLINE_SERVICE_USED", "ONLINE_SUBMISSION",
    )] == [0, 0, 0]  # fmt: skip


def test_online_payment() -> None:
    parent = HEAD | {
        "totalScore": 6.69, "totalMaxScore": 10, "totalDossierOnlinePaymentSuccess": 292524,
        "totalDossierFinancialObligation": 338679, "totalDossierOnlineFormalityPaymentSuccess": 135,
        "totalFeeDossierFormalityDistinct": 339, "totalFeeDossierFormality": 69, "totalFeeFormality": 339,
    }  # fmt: skip
    found = figures(Endpoint.ONLINE_PAYMENT, tree(parent))
    assert {code: each[3:5] for code, each in found.items() if code != TOTAL} == {
        "PAYMENT_DOSSIER": (292524, 338679),
        "PAYMENT_TTHC_TRANSACTION": (135, 339),
        "PAYMENT_TTHC_INTEGRATED": (69, 339),
    }
    assert found["PAYMENT_DOSSIER"].given == Given.NUMERATOR | Given.DENOMINATOR, "no score of its own"


def test_the_country_and_the_province() -> None:
    row = HEAD | {
        "totalScore": 57.41,
        "ratio": 57.41,
        "childGroup": None,
        "groupScores": {"CKMB": 8, "MDHL": None},
    }
    radar = [{"code": "CKMB", "score": 1.5, "maxScore": 18}]
    data = {"overview": {"departmentName": "Cả nước", "departmentCode": None, "totalScore": 56.56}}
    raw = body(data | {"radar": radar, "evaluation": [row], "growthPercent": 39.79, "donuts": {}})
    report = read(Endpoint.NATIONAL, raw)
    assert messages.root_of(report, "H31") == ROOT
    assert messages.root_of(report, "H44") is None
    found = figures(Endpoint.NATIONAL, raw)
    assert (found["CKMB"].score, found["MDHL"].score, found["MDHL"].given) == (8, None, Given.SCORE)
    country = figures(Endpoint.NATIONAL, raw, NATION)
    assert (country[TOTAL].score, country["RADAR.CKMB"].score) == (Decimal("56.56"), Decimal("1.5"))
    unit = {
        "departmentId": UNIT,
        "departmentName": "Sở",
        "childGroup": "AGENCY",
        "totalScore": 16,
        "ratio": 16,
    }
    of_province = read(Endpoint.PROVINCE, body(data | {"evaluation": [unit]}), root=ROOT)
    assert [(row.department_id, row.kind) for row in of_province.rows] == [
        (ROOT, "province"),
        (UUID(UNIT), "department"),
    ]


@pytest.mark.parametrize(
    ("raw", "reason", "where"),
    [
        (b"", "not_json", ""),
        (b"<html>Request Rejected</html>", "not_json", ""),
        (b"\xff\xfe", "not_json", ""),
        (tree()[:-9], "not_json", ""),
        (b"[" * 100_000, "envelope", "$"),
        (b'{"code": "OK"}', "envelope", "$"),
        (body(None), "shape", "$"),
        (body({}, code="ERROR"), "not_ok", "code"),
        (body({}, code=None), "envelope", "$.code"),
        (tree(PARENT | {"totalReceived": "482812"}), "shape", "$.parent.totalReceived"),
        (tree(PARENT | {"totalReceived": 4.5}), "shape", "$.parent.totalReceived"),
        (tree(PARENT | {"totalReceived": True}), "shape", "$.parent.totalReceived"),
        (tree(PARENT | {"totalScore": "17.43"}), "shape", "$.parent.totalScore"),
        (tree(PARENT | {"totalReceived": 10**19}), "shape", "a count that cannot be"),
        (tree(PARENT | {"totalScore": 1e300}), "shape", "a number that cannot be"),
        (tree(PARENT | {"departmentId": "H31"}), "shape", "$.parent.departmentId"),
        (tree(PARENT | {"departmentName": "a\0b"}), "shape", "a text that cannot be"),
        (tree(PARENT, CHILD, CHILD), "shape", "departmentId: twice"),
        (tree().replace(b"17.43", b"NaN"), "not_json", ""),
        (tree().replace(b"17.43", b"1e400"), "shape", "$.parent.totalScore"),
    ],
)
def test_what_is_not_understood(raw: bytes, reason: str, where: str) -> None:
    with pytest.raises(ReportInvalid) as refused:
        read(Endpoint.PROGRESS, raw, root=ROOT)
    assert (refused.value.reason, refused.value.where) == (reason, where)


def test_metrics_that_are_not_understood() -> None:
    with pytest.raises(ReportInvalid, match="metrics: a code twice"):
        read(Endpoint.DIGITISATION, metrics(METRICS[0], METRICS[0]), root=ROOT)
    without = {
        "overview": {"departmentName": "a", "metrics": []},
        "evaluation": [{"departmentName": "b", "metrics": []}],
    }
    with pytest.raises(ReportInvalid, match="departmentId: missing"):
        read(Endpoint.DIGITISATION, body(without), root=ROOT)


KEYS = (
    *("data", "overview", "parent", "children", "evaluation", "metrics", "code", "departmentId", "level"),
    *("departmentName", "score", "numerator", "groupScores", "radar", "pagination", "total"),
)
NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(UNIT),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            each,
            max_size=6,
        )
    ),
    max_leaves=25,
)


@given(endpoint=st.sampled_from(list(Endpoint)), data=NODES, code=st.just("OK") | st.text())
def test_reading_raises_nothing_but_its_own_error(endpoint: Endpoint, data: Any, code: str) -> None:
    with suppress(ReportInvalid):
        read(endpoint, body(data, code=code), root=ROOT)


@given(
    endpoint=st.sampled_from(list(Endpoint)),
    raw=st.sampled_from([tree(), metrics()]),
    cut=st.integers(0, 900),
    put=st.binary(max_size=6) | st.sampled_from([b"null", b"-1", b"[]", b"1e999", b'"\\ud800"']),
)
def test_reading_a_damaged_body_raises_nothing_but_its_own_error(
    endpoint: Endpoint, raw: bytes, cut: int, put: bytes
) -> None:
    damaged = raw[: cut % len(raw)] + put + raw[cut % len(raw) + len(put) :]
    try:
        report = read(endpoint, damaged, root=ROOT)
    except ReportInvalid:
        return
    assert all("\0" not in row.name for row in report.rows)


def test_every_endpoint_has_a_path_and_the_dates_of_satisfaction_end_today() -> None:
    assert set(PATHS) == set(Endpoint)
    assert len(GROUPS) == 6
    sent = request(Endpoint.SATISFACTION, Period.parse("2026"), ROOT, date(2026, 11, 2))
    assert (sent["fromDate"], sent["toDate"]) == ("2026-01-01", "2026-11-02")


@pytest.mark.parametrize(
    ("status", "content_type", "content", "error"),
    [
        (200, "text/html; charset=utf-8", b"<html>", PortalBlocked),
        (201, "application/json", b"  <!DOCTYPE html><title>Request Rejected</title>", PortalBlocked),
        (201, "application/json", b"{'x': 'Request Rejected. Support ID: 1'}", PortalBlocked),
        (401, "application/json", b"{}", PortalBlocked),
        (403, "", b"", PortalBlocked),
        (406, "", b"", PortalBlocked),
        (429, "", b"", PortalLimited),
        (500, "", b"", PortalAway),
        (504, "application/json", b"{}", PortalAway),
        (400, "application/json", b"{}", PortalRefused),
        (404, "text/plain", b"", PortalRefused),
        (302, "", b"", PortalRefused),
        (201, "text/plain", b"{}", PortalAnswerInvalid),
    ],
)
def test_what_an_answer_is_taken_for(
    status: int, content_type: str, content: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        judged(status, content_type, content)


def test_both_statuses_of_success() -> None:
    for status in (200, 201):
        assert judged(status, "application/json; charset=utf-8", b"{}") == (status, "application/json", b"{}")
