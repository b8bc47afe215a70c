"""Bulk push over HTTP against a bare COPY of the same rows.

Two clients push first arrivals in batches of 2,000, as NDJSON (POST /v1/dossiers) and as DongBoHoSoMC
(POST /dvcqg/integration), to committed rows with their changes recorded. The baselines COPY the same rows of `dossier`,
already encoded, into a table of the same columns and indexes, in the same batches, one transaction each, by one
connection and by two. Five alternating runs; the medians and their ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from benchmarks.stage import NOW, Stage, api, stage
from shared.vocabulary import Role

BATCH = 2000
CLIENTS = 2
UNITS = [f"H31.{n}" for n in range(100, 204)]


def code(n: int) -> str:
    return f"{UNITS[n % len(UNITS)]}-260803-{n // len(UNITS):06d}"


def moments(n: int) -> list[datetime]:
    """Submitted, received, due, finished: other seconds for each dossier, as in life."""
    received = NOW.replace(month=8, day=3, hour=7, minute=30) + timedelta(
        seconds=(n * 7919) % 32_400, days=n % 20
    )
    return [
        received - timedelta(seconds=n % 5000),
        received,
        (received + timedelta(days=3)).replace(hour=17, minute=0, second=0),
        received + timedelta(days=2, seconds=(n * 104_729) % 20_000),
    ]


def wire(n: int) -> dict[str, object]:
    """A message as the integrator sends it, with everything that we drop."""
    submitted, received, due, finished = (f"{at:%Y%m%d%H%M%S}" for at in moments(n))
    return {
        "MaHoSo": code(n),
        "MaTTHC": "1.001612",
        "TenTTHC": "Đăng ký thành lập hộ kinh doanh",
        "MaLinhVuc": "G12-LV08",
        "TenLinhVuc": "Thành lập và hoạt động doanh nghiệp (hộ kinh doanh)",
        "KenhThucHien": "2",
        "ChuHoSo": "NGUYỄN VĂN MẪU",
        "SoGiayToChuHoSo": "033099000001",
        "LoaiDoiTuong": "1",
        "SoDienThoai": "0900000001",
        "TrichYeuHoSo": "Đăng ký thành lập hộ kinh doanh Mẫu",
        "NgayNopHoSo": submitted,
        "NgayTiepNhan": received,
        "NgayHenTra": due,
        "TrangThaiHoSo": "9",
        "NgayTra": "",
        "HinhThuc": "0",
        "NgayKetThucXuLy": finished,
        "NgayTuChoi": "",
        "DonViXuLy": f"UBND xã số {n % len(UNITS)}",
        "GhiChu": "",
        "TaiLieuNop": [{"TepDinhKemId": "1", "TenTepDinhKem": "Giấy đề nghị.pdf", "DuocSoHoa": "1"}],
        "DanhSachHoSoBoSung": [],
    }


def own(n: int) -> dict[str, object]:
    submitted, received, due, finished = (f"{at.isoformat()}" for at in moments(n))
    return {
        "code": code(n),
        "portal": "sent",
        "procedure_code": "1.001612",
        "unit_name": f"UBND xã số {n % len(UNITS)}",
        "status": 9,
        "channel": 2,
        "submitted_at": submitted,
        "received_at": received,
        "due_at": due,
        "finished_at": finished,
        "returned_at": None,
        "rejected_at": None,
        "supplements": [],
    }


def shares(rows: int) -> list[list[range]]:
    """The batches of each client."""
    batches = [range(start, min(start + BATCH, rows)) for start in range(0, rows, BATCH)]
    return [batches[n::CLIENTS] for n in range(CLIENTS)]


def in_threads(jobs: list[Callable[[], None]]) -> float:
    """Seconds that the jobs take side by side. Raises what one of them raises."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        started = time.perf_counter()
        for done in [pool.submit(job) for job in jobs]:
            done.result()
        return time.perf_counter() - started


def post(
    port: int, path: str, bodies: list[bytes], headers: dict[str, str], check: Callable[[bytes], None]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for body in bodies:
        connection.request("POST", path, body, headers)
        check(connection.getresponse().read())
    connection.close()


def all_accepted(answer: bytes) -> None:
    counts = json.loads(answer.splitlines()[-1])["counts"]
    assert counts["accepted"] == sum(counts.values()) > 0, counts


def succeeded(answer: bytes) -> None:
    assert json.loads(answer)["error_code"] == "0", answer[:300]


@dataclass
class Rows:
    """What a push has left, in COPY's text form, batch by batch."""

    columns: list[str]
    batches: list[bytes]


async def copy(stage: Stage, rows: Rows) -> None:
    """The same batches, a transaction each."""
    connection = await stage.connect(owner=True)
    for data in rows.batches:
        await connection.copy_to_table(
            "copied_dossier", source=Source(data), columns=rows.columns, format="text"
        )
    await connection.close()


class Source:
    """Bytes that are encoded already, as asyncpg takes them."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        yield self.data


async def encoded(stage: Stage, bounds: list[range]) -> Rows:
    connection = await stage.connect(owner=True)
    found = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'dossier' ORDER BY ordinal_position"
    )
    columns = [row[0] for row in found]
    batches = []
    for batch in bounds:
        parts: list[bytes] = []

        async def keep(data: bytes, parts: list[bytes] = parts) -> None:
            parts.append(data)

        codes = ", ".join(f"'{code(n)}'" for n in batch)
        query = f"SELECT {', '.join(columns)} FROM dossier WHERE code IN ({codes})"
        await connection.copy_from_query(query, output=keep, format="text")
        batches.append(b"".join(parts))
    await connection.close()
    return Rows(columns, batches)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=80_000)
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    parts = shares(options.rows)
    with stage() as here, api(here, "services.ingest.main:create") as port:
        key = asyncio.run(here.key(Role.INTEGRATOR))
        login = http.client.HTTPConnection("127.0.0.1", port)
        login.request(
            "POST", "/dvcqg/login", json.dumps({"username": key.partition(".")[0], "password": key})
        )
        session = json.loads(login.getresponse().read())["session"]
        login.close()
        call = {"session": session, "madonvi": "H31", "service": "DongBoHoSoMC", "isUpdating": "False"}
        ndjson = [
            b"".join(json.dumps(own(n), ensure_ascii=False).encode() + b"\n" for batch in part for n in batch)
            for part in parts
        ]
        messages = [
            [json.dumps({**call, "data": [wire(n) for n in b]}, ensure_ascii=False).encode() for b in part]
            for part in parts
        ]
        reset = "TRUNCATE dossier, change, presence, quarantine"
        stream = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}

        def push_ndjson() -> float:
            return in_threads([
                lambda body=body: post(port, "/v1/dossiers", [body], stream, all_accepted) for body in ndjson
            ])  # fmt: skip

        def push_messages() -> float:
            headers = {"Content-Type": "application/json"}
            return in_threads([
                lambda bodies=bodies: post(port, "/dvcqg/integration", bodies, headers, succeeded)
                for bodies in messages
            ])  # fmt: skip

        push_messages()
        rows = [asyncio.run(encoded(here, part)) for part in parts]
        asyncio.run(here.execute("CREATE TABLE copied_dossier (LIKE dossier INCLUDING ALL)"))
        ways: dict[str, Callable[[], float]] = {
            "COPY, one connection": lambda: in_threads([
                lambda: [asyncio.run(copy(here, each)) for each in rows]  # type: ignore[list-item, return-value]
            ]),
            "COPY, two connections": lambda: in_threads([
                lambda each=each: asyncio.run(copy(here, each)) for each in rows
            ]),
            "NDJSON push": push_ndjson,
            "DongBoHoSoMC push": push_messages,
        }  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.runs):
            for name, way in ways.items():
                asyncio.run(here.execute(reset, "TRUNCATE copied_dossier"))
                times[name].append(way())
        rates = {name: options.rows / statistics.median(taken) for name, taken in times.items()}
        baselines = [rates[name] for name in list(ways)[:2]]
        print(
            f"{options.rows} first arrivals, {CLIENTS} clients, batches of {BATCH}, median of {options.runs} runs"
        )
        print(f"{'':<26}{'dossiers/s':>12}   ratio to COPY by one, by two")
        for name, rate in rates.items():
            print(
                f"{name:<26}{rate:>12,.0f}   " + "  ".join(f"{rate / baseline:.2f}" for baseline in baselines)
            )


if __name__ == "__main__":
    main()
