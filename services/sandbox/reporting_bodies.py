"""The answers of the reporting API, in their uneven shapes (reporting-api.md §4): what a body lacks there, it lacks
here."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import md5
from pathlib import Path
from random import Random
from uuid import UUID

from services.sandbox import publication, scores
from services.sandbox.decisions import is_public
from services.sandbox.facts import PROVINCE, Unit, procedures, units
from services.sandbox.published import (
    Counts,
    Published,
    average_days,
    in_competence,
    months_of,
    online_services,
)
from services.sandbox.scores import metric, points, ratio, total
from services.sandbox.workdays import epoch, moment

Row = dict[str, object]
MAXIMA = {"CKMB": 18, "TDGQ": 20, "CLGQ": 12, "TTTT": 10, "MDHL": 18, "MDSH": 22}
NOT_IN_FLAT_LISTS = "H31.906"
"""A unit that three endpoints do not have: inventories differ there too (§7)."""


@cache
def department_id(code: str) -> str:
    """A stable uuid of version 7 for a unit or a procedure."""
    number = int.from_bytes(md5(f"department:{code}".encode(), usedforsecurity=False).digest(), "big")
    born = 0x019D2BE36A80 << 80
    return str(UUID(int=born | number % (1 << 80) & ~(0xF << 76) & ~(0b11 << 62) | 7 << 76 | 0b10 << 62))


@cache
def provinces() -> tuple[tuple[str, str], ...]:
    """Code and name of the 34."""
    with (Path(__file__).parent / "data" / "provinces.tsv").open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return tuple((row["code"], row["name"]) for row in rows)


def children() -> list[Unit]:
    return [unit for unit in units() if unit.code != PROVINCE]


class Bodies:
    """What the portal answers of one period, at the world's clock; `procedure`: of one procedure only."""

    def __init__(self, published: Published, begin: int, end: int, procedure: str = "") -> None:
        self._published, self._begin, self._end, self._procedure = published, begin, end, procedure
        self._counts = published.counts(begin, end, procedure)
        self._held = published.held_by_the_province(begin, end)
        self._petitions = published.petitions(begin, end)

    # --- the six groups of one unit

    def _transparency(self, code: str) -> list[Row]:
        # 1.1–1.3 are of the procedures of the province's own; its units inherit them.
        own = publication.counts(self._begin, self._end)
        came = self._counts[code].n["came"]
        synced = metric("DOSSIER_SYNC", came, max(came, self._held[code]), "Hồ sơ đồng bộ")
        synced["dataQualityStatus"] = (
            "TEMP_NATIONAL_REPORT_DENOMINATOR" if synced["denominator"] else "NO_NATIONAL_REPORT_DATA"
        )
        return [
            metric("PUBLISH_ON_TIME", *own["PUBLISH_ON_TIME"], "TTHC công bố đúng hạn"),
            metric(
                "PUBLIC_UPDATE_ON_TIME", *own["PUBLIC_UPDATE_ON_TIME"], "TTHC cập nhật, công khai đúng hạn"
            ),
            metric("PUBLIC_CONTENT_FULL", *own["PUBLIC_CONTENT_FULL"], "TTHC công khai đầy đủ nội dung"),
            synced,
        ]

    def _digitisation(self, code: str) -> list[Row]:
        n, of = self._counts[code].n, self._counts[code].procedures
        received = n["received"]
        rows = [
            metric("ORIGINAL_RESULT_AVAILABLE", n["result"], received),
            metric("SO_HOA_GIAY_TO_GIAI_QUYET", n["digitised"], received),
            metric("REUSED_DIGITIZED_DATA", n["reused"], received),
            metric("SYNCED_WITH_DVCQG_PERSONAL_STORAGE", n["store"], received),
            metric("CITIZEN_DATA_CONNECTED_DOSSIER", n["population"], received),
        ]
        if not self._procedure:
            rows.append(metric("CITIZEN_DATA_CONNECTED_FORMALITY", len(of["population"]), len(of["people"])))
        constant: Row = {"code": "ELECTRONIC_CERTIFIED_COPY", "name": "Chứng thực bản sao điện tử"}
        constant |= {"numerator": None, "denominator": None, "ratio": 100, "score": 2, "maxScore": 2}
        return [*rows, constant]

    def _satisfaction(self, code: str) -> list[Row]:
        n, told = self._counts[code].n, self._petitions[code]
        kinds: list[Row] = [
            {"code": f"PETITION_CLASSIFICATION_{kind}", "name": kind, "numerator": told[kind.lower()]}
            | {"denominator": told["all"], "ratio": ratio(told[kind.lower()], told["all"])}
            | {"score": None, "maxScore": 0}
            for kind in ("TTHC", "STAFF")
        ]
        return [
            metric("DOSSIER_RECEIVING_SATISFACTION", n["satisfied"], n["received"]),
            metric("PETITION_PROCESSING_ON_TIME", told["on_time"], told["all"]),
            metric("PETITION_HANDLING_SATISFACTION", told["satisfied"], told["all"]),
            *kinds,
        ]

    def _online_service(self, code: str) -> Row:
        counts = self._counts[code]
        n = counts.n
        public, partly, fully = online_services()[code]
        return {
            "authorityCount": len(public),
            "partialCount": len(partly),
            "fullCount": len(fully),
            "onlineDossierCount": len(counts.procedures["online_used"] & (partly | fully)),
            "onlineServiceTotal": len(partly | fully),
            "channelOnlineSum": n["came_online"],
            "channelDirectSum": n["channel_1"],
            "channelPostalSum": n["channel_3"],
            "channelTotalSum": n["came"],
            "onlineOnTimeSum": n["online_on_time"],
            "onlineOverdueSum": n["online_overdue"],
        }

    def _online_payment(self, code: str) -> Row:
        n, of = self._counts[code].n, self._counts[code].procedures
        return {
            "totalDossierOnlinePaymentSuccess": n["paid"],
            "totalDossierFinancialObligation": n["duty"],
            "totalDossierOnlineFormalityPaymentSuccess": len(of["paid"]),
            "totalFeeDossierFormalityDistinct": len(of["fee"]),
            "totalFeeDossierFormality": len(of["integrated"]),
            "totalFeeFormality": len(of["fee"]),
        }

    def groups(self, code: str) -> dict[str, float]:
        """The six scores of a unit, by the portal's codes."""
        n = self._counts[code].n
        online, paid = self._online_service(code), self._online_payment(code)
        public, partly, fully = online_services()[code]
        offered = points("PROVIDE_ONLINE", len(partly | fully), len(public)) or 0.0
        return {
            "CKMB": _sum(self._transparency(code)),
            "TDGQ": points("PROGRESS", n["on_time"], n["received"]) or 0.0,
            "CLGQ": total(
                0.0 if _is_commune(code) else offered,
                _points("ONLINE_SERVICE_USED", online, ("onlineDossierCount", "onlineServiceTotal")),
                _points("ONLINE_SUBMISSION", online, ("channelOnlineSum", "channelTotalSum")),
            ),
            "TTTT": total(
                _points(
                    "PAYMENT_DOSSIER",
                    paid,
                    ("totalDossierOnlinePaymentSuccess", "totalDossierFinancialObligation"),
                ),
                _points(
                    "PAYMENT_TRANSACTION",
                    paid,
                    ("totalDossierOnlineFormalityPaymentSuccess", "totalFeeDossierFormalityDistinct"),
                ),
                _points("PAYMENT_INTEGRATED", paid, ("totalFeeDossierFormality", "totalFeeFormality")),
            ),
            "MDHL": _sum(self._satisfaction(code)),
            "MDSH": _sum(self._digitisation(code)),
        }

    # --- the bodies

    def national(self) -> Row:
        """E0n: the 34 provinces, with the six groups; ours is counted, the others are invented."""
        found = {code: self._invented(code) for code, _ in provinces()} | {PROVINCE: self.groups(PROVINCE)}
        rows = [
            _named(code, name)
            | {"totalScore": total(*found[code].values()), "ratio": total(*found[code].values())}
            | {"scoreDelta": None, "childGroup": None, "groupScores": found[code]}
            for code, name in provinces()
        ]
        mean = {group: round(sum(each[group] for each in found.values()) / len(found), 2) for group in MAXIMA}
        head: Row = {"departmentName": "Cả nước", "departmentCode": None}
        return self._results(head, mean, sorted(rows, key=_by_total, reverse=True)) | {
            "donuts": self._donuts()
        }

    def province(self) -> Row:
        """E0p: total of every unit, without its groups; the province's own row is not in the list."""
        rows = []
        for unit in children():
            score = total(*self.groups(unit.code).values())
            rows.append(
                _named(unit.code, unit.name)
                | {"totalScore": score, "ratio": score, "scoreDelta": None}
                | {"childGroup": "COMMUNE" if unit.level == "3" else "AGENCY"}
            )
        head: Row = {"departmentName": units()[0].name, "departmentCode": PROVINCE}
        return self._results(head, self.groups(PROVINCE), sorted(rows, key=_by_total, reverse=True))

    def _results(self, head: Row, groups: dict[str, float], rows: list[Row]) -> Row:
        legal = groups | {"ONLINE_SERVICE": total(groups["CLGQ"], groups["TTTT"])}
        maxima = MAXIMA | {"ONLINE_SERVICE": 22}
        score = total(*groups.values())
        return {
            "overview": head | {"totalScore": score, "totalMaxScore": 100, "ratio": score},
            # Against a year that this portal does not have: the floor of an empty one (§8).
            "growthPercent": round((score - 16) / 16 * 100, 2),
            "radar": [
                {"code": code, "name": code, "score": legal[code], "maxScore": maxima[code]}
                | {"ratio": round(legal[code] / maxima[code] * 100, 2)}
                for code in ("CKMB", "TDGQ", "ONLINE_SERVICE", "MDHL", "MDSH")
            ],
            "evaluation": rows,
        }

    def _donuts(self) -> Row:
        n = self._counts[PROVINCE].n
        online = n["channel_2"]
        other = n["channel_1"] + n["channel_3"]
        public, partly, fully = online_services()[PROVINCE]
        return {
            "onlineDossier": [
                {
                    "code": "ONLINE",
                    "name": "Trực tuyến",
                    "value": online,
                    "percent": ratio(online, online + other),
                },
                {"code": "OTHER", "name": "Khác", "value": other, "percent": ratio(other, online + other)},
            ],
            "onlineProvision": [
                {"code": code, "name": code, "value": len(found), "percent": ratio(len(found), len(public))}
                for code, found in (("FULL", fully), ("PARTIAL", partly), ("NONE", public - partly - fully))
            ],
        }

    def _invented(self, code: str) -> dict[str, float]:
        rng = Random(f"{code}:{self._begin}:{self._end}")  # noqa: S311
        return {group: round(most * rng.uniform(0.4, 0.95), 2) for group, most in MAXIMA.items()}

    def transparency(self) -> Row:
        rows, head = self._flat(self._transparency, 18)
        mean = round(sum(float(str(row["totalScore"])) for row in rows) / len(rows), 2)
        source = "reporting_766_transparency_* and reporting_dvc_calendar Mongo collections"
        return {"overview": head | {"averageScore": mean}, "evaluation": rows, "monthlyChart": []} | _page(
            rows, source
        )

    def satisfaction(self) -> Row:
        rows, head = self._flat(self._satisfaction, 18)
        for row, code in zip([head, *rows], [PROVINCE, *(_code_of(row) for row in rows)], strict=True):
            told = self._petitions[code]
            row |= {"totalPetitions": told["all"], "classifiedPetitions": told["tthc"] + told["staff"]}
            row["averageScore"] = None
            row["totalDossiers"] = self._counts[code].n["received"]
        source = "reporting_766_satisfaction_petition_months, reporting_766_satisfaction_dossier_periods"
        return {"overview": head, "evaluation": rows} | _page(rows, source)

    def digitisation(self) -> Row:
        rows, head = self._flat(self._digitisation, 22)
        for row in (head, *rows):
            row["departmentCode"] = PROVINCE if row is head else _code_of(row)
        return {"overview": head, "evaluation": rows} | _page(
            rows, "reporting_digitized_dossiers_daily Mongo collection"
        )

    def _flat(self, metrics: Callable[[str], list[Row]], most: int) -> tuple[list[Row], Row]:
        """The rows of a flat list, best first and without codes, and the province's."""

        def row(unit: Unit) -> Row:
            found = metrics(unit.code)
            score = _sum(found)
            commune = unit.level == "3"
            return {
                "departmentId": department_id(unit.code),
                "departmentName": unit.name,
                "departmentType": "COMMUNE_PEOPLE_COMMITTEE" if commune else "PROVINCIAL_DEPARTMENT",
                "departmentLevel": "COMMUNE" if commune else "PROVINCE",
                "agencyLevel": "level_2" if commune else "level_1",
                "totalScore": score,
                "totalMaxScore": most,
                "ratio": round(score / most * 100, 2),
                "scoreDelta": None,
                "metrics": found,
            }

        listed = [row(unit) for unit in children() if unit.code != NOT_IN_FLAT_LISTS]
        listed.sort(key=_by_total, reverse=True)
        head = row(units()[0]) | {"departmentType": "PROVINCE"}
        return [{"stt": place} | each for place, each in enumerate(listed, 1)], {"stt": 0} | head

    def progress(self) -> Row:
        """E4: the parent tells no overdue count; a child has score and maxScore."""
        n = self._counts[PROVINCE].n
        parent = _named(PROVINCE, units()[0].name) | self._received(PROVINCE)
        parent |= {"totalCompleted": n["completed"], "totalScore": self.groups(PROVINCE)["TDGQ"]}
        nodes = []
        for unit in _by_code():
            found = self._counts[unit.code].n
            nodes.append(
                _named(unit.code, unit.name)
                | {"level": _level(unit)}
                | self._received(unit.code)
                | {"totalOverdue": found["received"] - found["on_time"]}
                | {"score": self.groups(unit.code)["TDGQ"], "maxScore": 20, "scoreDelta": None}
            )
        chart = [
            {"month": f"{month:02}", "onTimePct": share, "overduePct": round(100 - share, 2) if of else 0}
            for month, of, share in self._by_month("received", "on_time")
        ]
        return {"parent": parent | {"totalMaxScore": 20}, "children": nodes, "monthlyChart": chart}

    def _received(self, code: str) -> Row:
        counts = self._counts[code]
        return {
            "totalReceived": counts.n["received"],
            "totalOnTime": counts.n["on_time"],
            "avgProcessingDays": average_days(counts),
            "ratio": ratio(counts.n["on_time"], counts.n["received"]),
        }

    def online_service(self) -> Row:
        """E5: only the parent has counts."""
        chart = [
            {"label": f"{month:02}", "onlineDossierPct": share}
            for month, _, share in self._by_month("came", "channel_2")
        ]
        return self._tree("CLGQ", lambda code: self._online_service(code) if code == PROVINCE else {}) | {
            "monthlyChart": chart
        }

    def online_payment(self) -> Row:
        return self._tree("TTTT", self._online_payment)

    def _tree(self, group: str, counts: Callable[[str], Row]) -> Row:
        most = MAXIMA[group]

        def node(unit: Unit) -> Row:
            score = self.groups(unit.code)[group]
            scored = {"totalScore": score, "totalMaxScore": most, "ratio": round(score / most * 100, 2)}
            return _named(unit.code, unit.name) | scored | counts(unit.code)

        nodes = [node(unit) | {"level": _level(unit), "scoreDelta": None} for unit in _by_code()]
        return {"parent": node(units()[0]), "children": nodes}

    def _by_month(self, whole: str, part: str) -> Iterable[tuple[int, int, float]]:
        """Twelve months; only those of the period, up to now, have figures."""
        year = moment(self._begin).year
        own = months_of(self._begin, self._end)
        for month in range(1, 13):
            begin, end = _month(year, month)
            n: Counts | None = None
            if month in own and begin <= self._published.world.now:
                n = self._published.counts(begin, end, self._procedure)[PROVINCE]
            of = n.n[whole] if n else 0
            yield month, of, ratio(n.n[part], of) if n else 0


def _month(year: int, month: int) -> tuple[int, int]:
    first = moment(0).replace(year=year, month=month, day=1, hour=0)
    after = first.replace(year=year + month // 12, month=month % 12 + 1)
    return epoch(first), epoch(after)


def _named(code: str, name: str) -> Row:
    return {"departmentId": department_id(code), "departmentName": name, "departmentCode": code}


def _page(rows: list[Row], source: str) -> Row:
    return {
        "pagination": {"total": len(rows), "currentPage": 1, "pageSize": 200, "totalPages": 1},
        "source": source,
    }


def _by_total(row: Row) -> tuple[float, str]:
    return float(str(row["totalScore"])), str(row["departmentId"])


def _by_code() -> list[Unit]:
    """As a text: H31.13 would stand after H31.129."""
    return sorted(children(), key=lambda unit: unit.code)


@cache
def _codes() -> dict[str, str]:
    return {department_id(unit.code): unit.code for unit in units()}


def _code_of(row: Row) -> str:
    return _codes()[str(row["departmentId"])]


def _is_commune(code: str) -> bool:
    return next(unit.level for unit in units() if unit.code == code) == "3"


def _level(unit: Unit) -> str:
    return "COMMUNE" if unit.level == "3" else "PROVINCE"


def _sum(metrics: list[Row]) -> float:
    found = [each["score"] for each in metrics]
    return total(*(each for each in found if isinstance(each, int | float)))


def _points(component: str, found: Row, names: tuple[str, str]) -> float:
    numerator, denominator = (int(str(found[name])) for name in names)
    return scores.points(component, numerator, denominator) or 0.0


def items(query: str, page: int, size: int) -> Row:
    """F: the procedures whose code or name holds the text. Those not in force are told too, without units."""
    wanted = query.casefold()
    found = [p for p in procedures() if wanted in p.code.casefold() or wanted in p.name.casefold()]
    offering = in_competence()
    rows = []
    for procedure in found[(page - 1) * size : page * size]:
        public = is_public(procedure)
        applied = [code for code, codes in offering.items() if procedure.code in codes and code != PROVINCE]
        rows.append(
            {
                "id": department_id(procedure.code),
                "code": procedure.code,
                "name": procedure.name,
                "state": "ACTIVE" if public else "INACTIVE",
                "departmentId": department_id(procedure.department or PROVINCE),
                "publishingDepartmentIds": [department_id(PROVINCE)],
                "appliedDepartmentIds": [department_id(code) for code in applied] if public else [],
            }
        )
    pages = -(-len(found) // size)
    return {
        "items": rows,
        "pagination": {"total": len(found), "currentPage": page, "pageSize": size, "totalPages": pages},
    }
