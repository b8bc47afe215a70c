"""What `make run` prints at its end: what was found, and where to look. Everything is read back over REST."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
from rich import box
from rich.console import Console
from rich.table import Table

from services.reconcile.captures import CHECKED

WHO = {
    "unit": "Đơn vị xử lý",
    "department": "Sở, ngành",
    "ministry": "Bộ, ngành",
    "vnpt": "VNPT",
    "centre": "Trung tâm",
}
"""Who acts, in the few letters that a table has. The API tells the full names."""


def summary(api: httpx.Client, console: Console, seconds: float, unit: str) -> None:
    """The province's figures on one screen of 80 columns. `unit`: a commune that is shown beside the province."""
    dossiers = _get(api, "/v1/reconciliation/dossiers")
    procedures = _get(api, "/v1/reconciliation/procedures")
    copies = dossiers["copies"]
    console.print()
    console.rule(f"Kết quả sau {seconds:.0f} giây (what was found)", align="left")
    for name, text in (
        (
            "Hồ sơ",
            f"đã tiếp nhận: {_vn(copies['provincial'])} ở tỉnh; {_vn(copies['sent'])} tỉnh đã gửi lên quốc gia;\n"
            f"tra cứu trên Cổng DVCQG: {_vn(copies['confirmed'])} có, {_vn(copies['absent'])} không có",
        ),
        (
            "TTHC",
            f"{_vn(procedures['decided']['codes'])} mã còn hiệu lực theo quyết định của tỉnh; "
            f"{_vn(procedures['national']['codes'])} mã công khai trên CSDLQG",
        ),
    ):
        console.print(f"{name:<7}" + text.replace("\n", "\n" + " " * 7), highlight=False, soft_wrap=True)
    console.print()
    _progress(api, console, unit)
    _published(api, console)
    _findings(
        console, "Hồ sơ: các bản khác nhau", "/v1/findings?subject=dossier", dossiers["findings"], "findings"
    )
    _findings(
        console,
        "TTHC: quyết định và CSDLQG khác nhau",
        "/v1/findings?subject=procedure",
        procedures["findings"],
        "procedures",
    )
    units = _counted(api, "unit")
    _findings(console, "Đơn vị: bất thường trong cả tháng", "/v1/findings?subject=unit", units, "findings")
    _explained(api, console, unit)


def addresses(console: Console, base_url: str, sandbox_url: str, keys: Mapping[str, str], unit: str) -> None:
    """Where to go from here. The keys open the sandbox's data only; they stay the same at the next run."""
    console.print()
    console.rule("Địa chỉ và khóa (addresses and keys)", align="left")
    seen = {"unit": f" {unit}"}
    lines = {
        "API": f"{base_url}   (OpenAPI: /docs)",
        "Operations": f"{base_url}/ready   (/health, /metrics)",
        "Sandbox": f"{sandbox_url}/_sandbox/stats   (/_sandbox/truth)",
        **{f"Key {role}{seen.get(role, '')}": key for role, key in keys.items()},
    }
    for name, value in lines.items():
        console.print(f"{name:<18}{value}", highlight=False, soft_wrap=True)
    console.print(
        f"\nTry:   export KEY={keys['centre']}\n"
        f'       curl -H "X-API-Key: $KEY" "{base_url}/v1/indicators/progress?unit={unit}"\n'
        "Ctrl-C ends everything (Ctrl-C để dừng).",
        highlight=False,
        soft_wrap=True,
    )


def _get(api: httpx.Client, path: str, **query: str) -> Any:
    answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def _vn(number: int | str | None) -> str:
    """As it is written in Vietnamese: 19.480 and 18,31."""
    if number is None:
        return "–"
    return f"{number:,}".replace(",", ".") if isinstance(number, int) else number.replace(".", ",")


def _table(
    console: Console, title: str, path: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """A leading `>` sets a column to the right, `=` keeps it on one line."""
    console.print(f"{title}  (GET {path})", highlight=False, soft_wrap=True)
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        name = column.lstrip(">=")
        table.add_column(name, justify="right" if column[0] == ">" else "left", no_wrap=column[0] in ">=")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print()


def _progress(api: httpx.Client, console: Console, unit: str) -> None:
    path = "/v1/indicators/progress"
    month = _get(api, path)["period"]["key"]
    rows = []
    for code in ("", unit):
        for period in (month, month[:4]):
            figure = _get(api, path, period=period, **({"unit": code} if code else {}))
            component = figure["components"][0]
            rows.append(
                (
                    figure["unit"]["name"] or figure["unit"]["code"],
                    period,
                    _vn(component["numerator"]),
                    _vn(component["denominator"]),
                    f"{_vn(figure['score'])} / {_vn(figure['max'])}",
                    figure["rating"] or "–",
                )
            )
    columns = ("Đơn vị", "=Kỳ", ">Đúng hạn", ">Tổng số", ">Điểm", "Xếp loại")
    _table(console, "2.1 Hồ sơ xử lý trước hạn, đúng hạn", path, columns, rows)


def _published(api: httpx.Client, console: Console) -> None:
    """What the nation shows of the province beside what is counted here, and what is wrong with it."""
    path, rows, wrong = "/v1/comparison", [], set[str]()
    month = _get(api, "/v1/indicators/progress")["period"]["key"]
    for period in (month, month[:4]):
        compared = _get(api, path, period=period)
        if compared["capture"] is None:
            continue
        wrong.update(compared["capture"]["checks_failed"])
        group = next(each for each in compared["groups"] if each["group"] == "progress")
        component = next(each for each in group["components"] if each["component"] == "2.1")
        published, ours = component["published"] or {}, component["ours"]
        rows.append(
            (
                period,
                _vn(compared["published_total"]),
                f"{_vn(published.get('numerator'))} / {_vn(published.get('denominator'))}",
                _vn(group["published"]),
                f"{_vn(ours['numerator'])} / {_vn(ours['denominator'])}",
                _vn(ours["points"]),
            )
        )
    title = "Cổng quốc gia công bố, bên cạnh số ở đây (2.1)"
    if not rows:
        console.print(
            f"{title}: chưa có lần kết xuất đủ nào  (GET /v1/captures)\n", highlight=False, soft_wrap=True
        )
        return
    _table(console, title, path, ("=Kỳ", ">Tổng", ">Cổng: 2.1", ">Điểm", ">Ở đây: 2.1", ">Điểm"), rows)
    if wrong:
        should = "; ".join(CHECKED.get(code, code) for code in sorted(wrong))
        console.print(f"Số Cổng công bố không khớp nhau; lẽ ra: {should}.\n", highlight=False)


def _findings(
    console: Console, title: str, path: str, found: Sequence[Mapping[str, Any]] | None, count: str
) -> None:
    """Kinds with what is open of each. None: it could not be judged yet."""
    if not found:
        why = "chưa kết luận được" if found is None else "không có"
        console.print(f"{title}: {why}  (GET {path})\n", highlight=False, soft_wrap=True)
        return
    rows = [
        (_vn(row[count]), row["kind_name"], WHO.get(row["responsible"], row["responsible"]), row["kind"])
        for row in found
    ]
    _table(console, title, path, (">Đang mở", "Sai lệch", "=Ai xử lý", "=kind"), rows)


def _counted(api: httpx.Client, subject: str) -> list[dict[str, Any]]:
    """The open findings of a subject, by kind and by who acts; the most first."""
    found = Counter[tuple[str, str, str]]()
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = _get(
            api,
            "/v1/findings",
            subject=subject,
            limit="1000",
            **({"cursor": page["next"]} if page["next"] else {}),
        )
        found.update((each["kind"], each["kind_name"], each["responsible"]) for each in page["items"])
    return [
        {"kind": kind, "kind_name": name, "responsible": responsible, "findings": findings}
        for (kind, name, responsible), findings in found.most_common()
    ]


def _explained(api: httpx.Client, console: Console, unit: str) -> None:
    """The path from a figure to a dossier to the rule, as an officer would walk it."""
    year = _get(api, "/v1/indicators/progress")["period"]["key"][:4]
    path = "/v1/indicators/progress/2.1/items"
    items = _get(api, path, unit=unit, period=year, part="shortfall", limit="1")["items"]
    if not items:
        console.print(f"{unit}: không có hồ sơ nào bị trừ điểm trong năm {year}.", highlight=False)
        return
    code = items[0]["code"]
    console.print(
        f"Một hồ sơ bị tính là quá hạn, và vì sao  (GET /v1/dossiers/{code})", highlight=False, soft_wrap=True
    )
    for row in _get(api, f"/v1/dossiers/{code}")["indicators"]:
        if row["period"] == year and row["basis"] == "counted":
            console.print(f"{code}: {row['sentence']}", highlight=False)
