"""A reporting API of a few units that answers what a test tells it to, and a capture of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators.capture_scores import score_captures
from services.ingest import pull
from services.sandbox.reporting_bodies import department_id
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject
from tests.portals import ANCHOR, QUICK, Answer, Call, at, column, serving

NOW = ANCHOR + timedelta(hours=9)
UNITS = {
    "H31.16": ("Sở Công Thương", "PROVINCE", "PROVINCIAL_DEPARTMENT", "AGENCY"),
    "H31.135": ("UBND phường Phố Hiến", "COMMUNE", "COMMUNE_PEOPLE_COMMITTEE", "COMMUNE"),
    "H31.136": ("UBND phường Sơn Nam", "COMMUNE", "COMMUNE_PEOPLE_COMMITTEE", "COMMUNE"),
}
HEAD = {"departmentName": "UBND tỉnh Hưng Yên", "departmentCode": "H31"}


def leading_to(settings: Settings, url: str) -> Settings:
    return at(settings.model_copy(update={"reporting_url": url, "reporting_pause_seconds": 0.0}), NOW)


def said(content: Any, status: int = 201) -> Answer:
    return status, {"Content-Type": "application/json; charset=utf-8"}, json.dumps(content).encode()


def plain(last: str, sent: dict[str, Any]) -> Answer:
    """What an endpoint answers: the last part of its path, and the request."""
    root = {"departmentId": department_id("H31")} | HEAD
    total = {"totalScore": 10.0, "totalMaxScore": 18, "ratio": 55.56}
    data: dict[str, Any]
    if last == "service-results" and "departmentType" in sent:
        data = {"overview": {"departmentName": "Cả nước"} | total, "radar": []}
        data["evaluation"] = [root | total | {"groupScores": {"CKMB": 10.0}}]
    elif last == "service-results":
        data = {"overview": HEAD | total, "evaluation": [_named(code) | total for code in UNITS]}
        for row, (_, _, _, group) in zip(data["evaluation"], UNITS.values(), strict=True):
            row["childGroup"] = group
    elif last == "dvc-progress-tree":
        counts = {"totalReceived": 4, "totalOnTime": 2, "ratio": 50.0}
        child = {
            "totalReceived": 2,
            "totalOnTime": 1,
            "totalOverdue": 1,
            "ratio": 50.0,
            "score": 10.0,
            "maxScore": 20,
        }
        data = {"parent": root | counts | {"totalScore": 10.0, "totalMaxScore": 20}}
        data["children"] = [
            _named(code) | child | {"level": level} for code, (_, level, _, _) in UNITS.items()
        ]
    elif last.endswith("-tree"):
        data = {"parent": root | total}
        data["children"] = [
            _named(code) | total | {"level": level} for code, (_, level, _, _) in UNITS.items()
        ]
    else:
        rows = [
            _named(code) | total | {"departmentType": kind, "metrics": []}
            for code, (_, _, kind, _) in UNITS.items()
        ]
        data = {"overview": root | total | {"metrics": []}, "evaluation": rows, "source": "x"}
    return said({"code": "OK", "message": "OK", "data": data})


def _named(code: str) -> dict[str, Any]:
    return {"departmentId": department_id(code), "departmentName": UNITS[code][0], "departmentCode": code}


def answering(change: Callable[[str, Call], Answer | str]) -> Callable[[Call], Answer]:
    """`change` gives another answer, or "" for the plain one."""

    def answer(call: Call) -> Answer:
        last = call.path.rpartition("/")[2]
        changed = change(last, call)
        return plain(last, call.json) if isinstance(changed, str) else changed

    return answer


async def kept(
    engine: AsyncEngine, settings: Settings, *, change: Callable[[str, Call], Answer | str] | None = None
) -> int:
    """One capture of October, scored; its id."""
    async with serving(answering(change or (lambda last, call: ""))) as url:
        given = leading_to(settings, url)
        await pull.run_one(
            engine, given, Portal.NATIONAL, Subject.CAPTURES, cursor={"periods": ["2026-10"]}, retry=QUICK
        )
    async with session_scope(engine) as session:
        await score_captures(session, now=NOW)
    return int((await column(engine, "SELECT max(id) FROM capture"))[0])
