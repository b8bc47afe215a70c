"""The OpenAPI document: it builds, it says what every call answers, and the application does as it says."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from shared.problems import KINDS
from shared.settings import Settings
from shared.vocabulary import Role
from tests import captures, joined
from tests.conftest import Cluster
from tests.make import NOW

EXAMPLES = 12
"""Of each operation, for each of the two ways of making them."""
PLAIN = Settings(_env_file=None, database_url="postgresql://nobody@127.0.0.1:9/none", chiso_now=NOW)
DOCUMENT = joined.joined(PLAIN).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
OURS = [each for each in OPERATIONS if each[1].startswith("/v1/")]
IDS = [f"{method} {path}" for method, path, _ in OURS]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema | {"components": DOCUMENT["components"]})


def test_every_operation_is_described() -> None:
    assert OURS
    for method, path, operation in OPERATIONS:
        assert operation.get("summary"), (method, path)
        assert operation.get("tags"), (method, path)
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("method", "path", "operation"), OURS, ids=IDS)
def test_every_operation_says_with_which_problems_it_may_answer(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    said = set(operation["responses"])
    assert {"400", "401", "403"} <= said
    if operation.get("parameters") or "requestBody" in operation:
        assert "422" in said
    if "requestBody" in operation:
        assert "413" in said
    for status, answer in operation["responses"].items():
        assert answer["description"]
        if int(status) >= 400:
            assert list(answer["content"]) == ["application/problem+json"], status
            assert int(status) in KINDS
    assert operation.get("security"), "which header carries the key"


def bodies(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, media type object) of the JSON that an operation takes and gives."""
    kinds = {"request": operation.get("requestBody", {})} | {
        status: answer for status, answer in operation["responses"].items() if int(status) < 400
    }
    for where, body in kinds.items():
        if "application/json" in body.get("content", {}):
            yield where, body["content"]["application/json"]


def example_of(media: dict[str, Any]) -> Any:
    """A body's own example, its schema's, or that of the items of a page."""
    schema = resolved(media["schema"])
    for place in (media, schema):
        if "example" in place:
            return place["example"]
        if place.get("examples"):
            return place["examples"][0]
    items = schema.get("properties", {}).get("items")
    if items is not None:
        each = resolved(items["items"])
        return {"items": [each["example"]], "next": None} if "example" in each else None
    return None


def with_nulls(value: Any, schema: dict[str, Any]) -> Any:
    """FastAPI drops nulls from examples: put back those that the schema asks for."""
    schema = resolved(schema)
    for choice in schema.get("anyOf", []):
        if value is not None and resolved(choice).get("type") in ("object", "array"):
            return with_nulls(value, choice)
    if isinstance(value, list) and "items" in schema:
        return [with_nulls(each, schema["items"]) for each in value]
    if not isinstance(value, dict):
        return value
    fields = schema.get("properties", {})
    nulls = {
        name: None
        for name in schema.get("required", [])
        if name not in value and {"type": "null"} in fields[name].get("anyOf", [])
    }
    return nulls | {name: with_nulls(each, fields.get(name, {})) for name, each in value.items()}


@pytest.mark.parametrize(("method", "path", "operation"), OURS, ids=IDS)
def test_every_body_has_an_example_that_is_one(method: str, path: str, operation: dict[str, Any]) -> None:
    found = list(bodies(operation))
    assert found
    for where, media in found:
        example = example_of(media)
        assert example is not None, f"{where}: no example"
        validator(media["schema"]).validate(with_nulls(example, media["schema"]))


# --- the application does as the document says ---------------------------------------------------------

PLAUSIBLE: dict[str, list[str]] = {
    "unit": ["H31", "H31.135", "000.00.136.H31", "H31.999", "H30"],
    "period": ["2026-08", "2026-Q3", "2026", "2026-11", "2027", "2022-01", "2026-13"],
    "on": ["2026-03-02", "1990-01-01", "2100-12-31", "2026-02-30"],
    "known_at": ["2026-03-02T00:00:00+07:00", "0001-01-01T00:00:00+07:00", "9999-12-31T23:59:59-12:00"],
    "group": ["progress", "transparency"],
    "component": ["2.1", "2.2"],
    "part": ["numerator", "shortfall", "denominator"],
    "code": ["H31.135-260803-0001", "HS-7", "h31.135-260803-0001", "\ud7ff"],
    "cursor": [
        "WzFd",
        "WyJhIiwgImIiXQ",
        "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMF0",
        "W10",
        "===",
        "WyJcdTAwMDAiLCJhIl0",
    ],
    "kind": ["status_differs", "missing_on_national"],
    "run_id": ["1", "9223372036854775807"],
    "capture_id": ["1", "9223372036854775807"],
    "a": ["1"],
    "b": ["1", "2"],
    "decision_id": ["1", "9223372036854775807"],
}
"""Values that get past the first check, and those at its edge."""

NOBODY_S = {
    "/ready",
    "/v1/findings/{finding_id}",
    "/v1/unit-aliases/{name}",
    "/v1/imports/{import_id}",
    "/v1/pushes/{receipt_id}",
    "/v1/quarantine/{refusal_id}/replay",
}
"""What made up values do not find: an id, or a unit to be named in a body."""

UTC_TIME = re.compile(r'T[0-9:.]+(?:Z|\+00:00)"')
"""Times are told in Việt Nam's (+07:00)."""
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
FUZZED = [found.ok() for found in SCHEMA.get_all_operations() if not found.ok().path.startswith("/dvcqg/")]


@dataclass
class Asked:
    http: httpx.AsyncClient
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)


@pytest.fixture(scope="module")
async def asked(cluster: Cluster) -> AsyncIterator[Asked]:
    async with joined.own_database(cluster) as (engine, settings):
        await joined.province(engine)
        await captures.kept(engine, settings)
        _, key = await joined.key(engine, Role.ADMIN)
        async with joined.serve(joined.joined(settings)) as http:
            http.headers.update(joined.bearer(key))
            yield Asked(http)


def plausible(case: schemathesis.Case, shuffle: random.Random) -> None:
    """Let some of the values be such as get further than the first check."""
    for container in (case.path_parameters, case.query):
        for name in list(container):
            if name in PLAUSIBLE and shuffle.random() < 0.7:
                container[name] = shuffle.choice(PLAUSIBLE[name])


@pytest.mark.parametrize(
    ("operation", "mode"),
    [
        pytest.param(each, mode, id=f"{each.method} {each.path} {mode.value}")
        for each in FUZZED
        for mode in GenerationMode
        if each.path.startswith("/v1/") or mode is GenerationMode.POSITIVE
    ],
)
@hypothesis_settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
async def test_whatever_is_sent_is_answered_as_documented(
    asked: Asked, operation: Any, mode: GenerationMode, data: st.DataObject
) -> None:
    documented = DOCUMENT["paths"][operation.path][operation.method]["responses"]
    case = data.draw(operation.as_strategy(generation_mode=mode))
    plausible(case, data.draw(st.randoms(use_true_random=False)))
    sent = case.as_transport_kwargs(base_url="http://test")
    body = {"json": sent["json"]} if "json" in sent else {"content": sent.get("data")}
    headers = {"Accept": data.draw(st.sampled_from(["application/json", "text/csv"]))}
    if case.media_type:
        headers["Content-Type"] = case.media_type
    params = [(name, str(value)) for name, value in sent["params"].items()]
    answer = await asked.http.request(sent["method"], sent["url"], params=params, headers=headers, **body)
    status = str(answer.status_code)
    asked.answers[operation.path, answer.status_code] += 1
    told = f"{answer.request.method} {answer.request.url} → {status} {answer.text[:300]}"
    kind = answer.headers["content-type"].partition(";")[0]
    if operation.path == "/ready":  # 503 with what is missing, as documented in the operations guide
        assert answer.json()["missing"]
    elif answer.status_code >= 400:
        assert answer.status_code < 500, told
        assert kind == "application/problem+json", told
        assert answer.json()["status"] == answer.status_code
        assert answer.json()["detail_vi"]
        assert status in documented, told
    elif kind == "application/json":
        schema = documented[status]["content"]["application/json"]["schema"]
        validator(schema).validate(answer.json())
        assert not UTC_TIME.search(answer.text), told


async def test_the_examples_got_further_than_the_first_check(asked: Asked) -> None:
    """After the walk above: each reading call was also answered, not only refused."""
    if not asked.answers:
        pytest.skip("asked alone")
    answered = {path for path, status in asked.answers if status in (200, 201, 202, 409)}
    missed = {each.path for each in FUZZED} - answered - NOBODY_S
    assert missed == set()
