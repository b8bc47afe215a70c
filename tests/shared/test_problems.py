"""What is wrong with a value is said in both languages, with what was expected and never with what came in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Literal

import httpx
import pytest
from fastapi import FastAPI, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared import problems
from shared.vocabulary import Basis

app = FastAPI()
problems.install(app)


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=3)
    number: int = Field(ge=0, le=9, strict=True)


@app.get("/read")
def read(
    part: Literal["numerator", "shortfall"] = "numerator",
    basis: Basis = Basis.COUNTED,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1,
    on: date | None = None,
    since: AwareDatetime | None = None,
    wanted: bool = False,
) -> None: ...


@app.post("/write")
def write(thing: Thing) -> None: ...


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("query", "vi"),
    [
        ({"part": "zzz"}, "part (cần 'numerator' hoặc 'shortfall')"),
        ({"basis": "zzz"}, "basis (cần 'counted' hoặc 'provincial')"),
        ({"limit": "zzz"}, "limit (cần số nguyên)"),
        ({"limit": "1001"}, "limit (không lớn hơn 1000)"),
        ({"limit": "0"}, "limit (không nhỏ hơn 1)"),
        ({"on": "zzz"}, "on (cần dạng 2026-08-31)"),
        ({"since": "zzz"}, "since (cần dạng 2026-08-31T09:30:00+07:00)"),
        ({"since": "2026-08-31T09:30:00"}, "since (cần múi giờ"),
        ({"wanted": "zzz"}, "wanted (cần true hoặc false)"),
    ],
)
async def test_of_a_query(http: httpx.AsyncClient, query: dict[str, str], vi: str) -> None:
    answer = await http.get("/read", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail_vi"].startswith(f"Giá trị không hợp lệ ở: {vi}")
    assert "zzz" not in answer.text


async def test_of_a_body(http: httpx.AsyncClient) -> None:
    thing = {"name": "zzzz", "number": "4", "more": 1}
    told = (await http.post("/write", json=thing)).json()["detail_vi"]
    assert "name (dài nhất 3 ký tự)" in told
    assert "number (cần số nguyên)" in told
    assert "more (không có trường này)" in told
    assert "name (thiếu)" in (await http.post("/write", json={"number": 1})).json()["detail_vi"]
    assert "thing" not in told
