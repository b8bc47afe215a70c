"""What the reporting API is asked (reporting-api.md §2, §3). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.calendar import Period


class Endpoint(StrEnum):
    """What is asked for one period; the six groups by their slugs."""

    NATIONAL = "national"
    PROVINCE = "province"
    TRANSPARENCY = "transparency"
    PROGRESS = "progress"
    ONLINE_SERVICE = "online-service"
    ONLINE_PAYMENT = "online-payment"
    DIGITISATION = "digitisation"
    SATISFACTION = "satisfaction"


GROUPS = tuple(each for each in Endpoint if each not in (Endpoint.NATIONAL, Endpoint.PROVINCE))
PATHS: Mapping[Endpoint, str] = {
    Endpoint.NATIONAL: "/evaluation/service-results",
    Endpoint.PROVINCE: "/evaluation/service-results",
    Endpoint.TRANSPARENCY: "/evaluation/transparency",
    Endpoint.PROGRESS: "/evaluation/dvc-progress-tree",
    Endpoint.ONLINE_SERVICE: "/evaluation/provide-online-tree",
    Endpoint.ONLINE_PAYMENT: "/evaluation/formality-online-payment-tree",
    Endpoint.DIGITISATION: "/evaluation/dossier-digitized",
    Endpoint.SATISFACTION: "/evaluation/handling-satisfaction",
}
_PAGES: Mapping[Endpoint, dict[str, int]] = {
    Endpoint.PROVINCE: {"currentPage": 1, "pageSize": 300},
    Endpoint.TRANSPARENCY: {"currentPage": 1, "pageSize": 200},
    Endpoint.PROGRESS: {"pageSize": 100},
    Endpoint.ONLINE_SERVICE: {"pageSize": 200},
    Endpoint.ONLINE_PAYMENT: {"pageSize": 100},
    Endpoint.DIGITISATION: {"currentPage": 1, "pageSize": 200},
    Endpoint.SATISFACTION: {"currentPage": 1, "pageSize": 200},
}


def request(endpoint: Endpoint, period: Period, root: UUID | None, today: date) -> dict[str, Any]:
    """The body of a call (§3). An unknown key is silently ignored there, so a typo would ask for another
    population: the keys are tested. `root` is needed for all but the national one."""
    if endpoint is Endpoint.SATISFACTION:
        days = {
            "fromDate": period.first_day.isoformat(),
            "toDate": min(period.last_day, today).isoformat(),
        }
        return {**days, "rootDepartmentId": str(root), **_PAGES[endpoint]}
    times: dict[str, Any] = {"timeType": period.kind, "year": period.year}
    if period.kind != "year":
        times[period.kind] = period.number
    if endpoint is Endpoint.NATIONAL:
        return {**times, "departmentType": "ADMINISTRATIVE_UNIT"}
    return {**times, "rootDepartmentId": str(root), **_PAGES[endpoint]}
