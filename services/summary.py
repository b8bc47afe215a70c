"""What `make run` prints at its end: what was found, and where to look. Everything is read back over REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table


def summary(api: httpx.Client, console: Console, seconds: float, unit: str) -> None:
    """The province's figures on one screen. `unit`: a commune that is shown beside the province."""
    dossiers = _get(api, "/v1/reconciliation/dossiers")
    procedures = _get(api, "/v1/reconciliation/procedures")
    console.print()
    console.rule(f"Kết quả sau {seconds:.0f} giây (what was found)", align="left")
    copies = dossiers["copies"]
    console.print(
        f"Hồ sơ: {copies['provincial']:,} ở tỉnh, {copies['sent']:,} đã gửi quốc gia; tra cứu thấy "
        f"{copies['confirmed']:,}, không thấy {copies['absent']:,}.",
        highlight=False,
    )
    console.print(
        f"TTHC: {procedures['decided']['codes']} mã còn hiệu lực theo quyết định, {procedures['national']['codes']} "
        "mã công khai trên CSDLQG.",
        highlight=False,
    )
    console.print(_progress(api, unit))
    console.print(_findings("Sai lệch giữa các bản của hồ sơ (GET /v1/findings?subject=dossier)", dossiers))
    console.print(_findings("Sai lệch giữa quyết định và CSDLQG (…?subject=procedure)", procedures))
    console.print("Một hồ sơ quá hạn của đơn vị, và vì sao (one overdue dossier, and why):", highlight=False)
    for sentence in _one_explained(api, unit):
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)


def addresses(
    console: Console, base_url: str, sandbox_url: str, keys: Mapping[str, str], unit: str, unit_key: str
) -> None:
    """Where to go from here. The keys open the sandbox's data only; they stay the same at the next run."""
    console.print()
    console.rule("Địa chỉ (addresses)", align="left")
    lines = {
        "API": base_url,
        "OpenAPI": f"{base_url}/docs",
        "Operations": f"{base_url}/health  /ready  /metrics",
        "Sandbox": f"{sandbox_url}/_sandbox/stats  /_sandbox/truth",
        **{f"Key {role}": key for role, key in keys.items()},
        f"Key {unit}": unit_key,
    }
    for name, value in lines.items():
        console.print(f"{name:<16}{value}", highlight=False, soft_wrap=True)
    console.print(f"\nTry:  export KEY={keys['reader']}", highlight=False, soft_wrap=True)
    console.print(
        f'      curl -H "X-API-Key: $KEY" "{base_url}/v1/indicators/progress?unit={unit}"',
        highlight=False,
        soft_wrap=True,
    )
    console.print("Ctrl-C ends everything.", highlight=False)


def _get(api: httpx.Client, path: str, **query: str) -> Any:
    answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def _progress(api: httpx.Client, unit: str) -> Table:
    table = Table(
        title="2.1 Hồ sơ xử lý trước hạn, đúng hạn (GET /v1/indicators/progress)", title_justify="left"
    )
    for name in ("Đơn vị", "Kỳ", "Đúng hạn", "Tổng số", "Điểm / 20", "Xếp loại"):
        table.add_column(name, justify="left" if name in ("Đơn vị", "Kỳ", "Xếp loại") else "right")
    month = _get(api, "/v1/indicators/progress")["period"]["key"]
    for code in ("H31", unit):
        for period in (month, month[:4]):
            figure = _get(api, "/v1/indicators/progress", unit=code, period=period)
            component = figure["components"][0]
            table.add_row(
                figure["unit"]["name"],
                period,
                f"{component['numerator']:,}",
                f"{component['denominator']:,}",
                str(figure["score"]),
                str(figure["rating"] or "–"),
            )
    return table


def _findings(title: str, answer: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Loại")
    table.add_column("Mã loại")
    table.add_column("Ai xử lý")
    table.add_column("Đang mở", justify="right")
    for row in answer["findings"]:
        table.add_row(row["kind_name"], row["kind"], row["responsible"], f"{row['findings']:,}")
    return table


def _one_explained(api: httpx.Client, unit: str) -> list[str]:
    """The path from a figure to a dossier to the rule, as an officer would walk it."""
    year = _get(api, "/v1/indicators/progress")["period"]["key"][:4]
    path = "/v1/indicators/progress/2.1/items"
    items = _get(api, path, unit=unit, period=year, part="shortfall", limit="1")["items"]
    if not items:
        return [f"{unit}: không có hồ sơ nào trong năm {year}."]
    dossier = _get(api, f"/v1/dossiers/{items[0]['code']}")
    why = [
        row["sentence"]
        for row in dossier["indicators"]
        if row["period"] == year and row["basis"] == "counted"
    ]
    return [f"{items[0]['code']}  (GET /v1/dossiers/{items[0]['code']})", *why]
