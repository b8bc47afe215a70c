"""What was injected is what a comparison of the copies shows: nothing else, nothing less."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest

from services.sandbox import defects, papers
from services.sandbox.dossier import Copy, Dossier
from services.sandbox.timeline import Kind
from services.sandbox.workdays import epoch
from services.sandbox.world import World

ANCHOR = datetime.fromisoformat("2026-10-05T00:00:00+07:00")
MOMENTS = [ANCHOR, ANCHOR + timedelta(days=2, hours=11), ANCHOR + timedelta(days=30, hours=16)]


def impossible(copy: Copy) -> bool:
    if copy.status not in (9, 10):
        return False
    return copy.finished_at is None or copy.received_at is None or copy.finished_at < copy.received_at


def differences(world: World, dossier: Dossier, at: int) -> set[tuple[str, str]]:
    """Each copy against the one that it was made from, as of the moment at which it was made."""
    held = world.provincial(dossier, at)
    source = world.provincial(dossier, at - dossier.send_lag + dossier.save_delay)
    sent, made_from = world.sent(dossier, at), world.sent(dossier, at - dossier.show_lag)
    shown = world.national(dossier, at)
    found: set[tuple[str, str]] = set()
    if shown is not None and held is None:
        return {("national_only", "nation")}
    if source is not None and source.received_at is not None:
        if sent is None:
            return {("lost_before_send", "integrator")}
        if made_from is not None and shown is None:
            return {("lost_after_send", "nation")}
        if held is not None and impossible(held):
            return {("impossible_record", "province")}
        if sent.code != source.code:
            found.add(("code_replaced", "integrator"))
        if sent.due_at is not None and source.due_at is None:
            assert sent.due_at == sent.updated_at - dossier.save_delay + dossier.send_lag + 86_400
            found.add(("appointment_invented", "integrator"))
        if sent.status != source.status:
            found.add(("status_overwritten", "integrator"))
        elif impossible(sent):
            found.add(("impossible_record", "integrator"))
        elif sent.finished_at == sent.updated_at - dossier.save_delay + dossier.send_lag:
            found.add(("end_is_push_time", "integrator"))
        elif sent.finished_at != source.finished_at:
            assert sent.finished_at == source.received_at
            found.add(("end_as_receipt", "integrator"))
        if sent.papers.result == "submitted" and sent.status in (9, 10):
            assert not source.papers.result
            found.add(("result_is_submitted", "integrator"))
        if any(not step.officer or not step.title for step in sent.steps):
            found.add(("officer_missing", "integrator"))
        if any(step.officer in ("Chuyên viên", "Cán bộ một cửa") for step in sent.steps):
            found.add(("officer_placeholder", "integrator"))
        if sent.due_at is None:
            found.add(("no_appointment", "integrator"))
        pairs = [(sent, source, "integrator")]
        if shown is not None and made_from is not None:
            assert (shown.status, shown.finished_at) == (made_from.status, made_from.finished_at)
            pairs.append((shown, made_from, "nation"))
        for copy, original, where in pairs:
            if copy.due_at and original.due_at and abs(copy.due_at - original.due_at) >= 86_400:
                found.add(("appointment_differs", where))
            if copy.procedure.code != original.procedure.code:
                found.add(("procedure_differs", where))
            if copy.unit.name != original.unit.name:
                found.add(("unit_differs", where))
    return found


@pytest.mark.parametrize("when", MOMENTS)
def test_truth_is_what_a_comparison_shows(still_world: World, when: datetime) -> None:
    at = epoch(when)
    # A lost dossier is true from its receipt on; that it is lost can be seen after the lags only.
    settling = {
        dossier.code
        for dossier in still_world.dossiers
        if dossier.received_at is not None
        and dossier.received_at <= at < dossier.received_at + dossier.send_lag + dossier.show_lag
        and dossier.kind.startswith("lost_")
    }
    seen = {
        (dossier.code, *difference)
        for dossier in still_world.dossiers
        if dossier.code not in settling
        for difference in differences(still_world, dossier, at)
    }
    rows = still_world.truth(when)["dossiers"]
    assert isinstance(rows, list)
    assert {(row["code"], row["defect"], row["where"]) for row in rows if row["code"] not in settling} == seen
    assert settling <= {row["code"] for row in rows}
    assert len({row["code"] for row in rows}) == len(rows)
    assert {row["defect"] for row in rows} == set(defects.KINDS)
    assert all(epoch(datetime.fromisoformat(row["manifest_since"])) <= at for row in rows)
    assert all(("expected_at" in row) == row["defect"].startswith("lost_") for row in rows)
    both = {"appointment_differs", "procedure_differs", "unit_differs"}
    assert {(kind, "integrator") for kind in both} <= {(kind, where) for _, kind, where in seen}
    assert {(kind, "nation") for kind in both} <= {(kind, where) for _, kind, where in seen}


@pytest.mark.parametrize("when", MOMENTS)
def test_manifest_begins_when_it_says(still_world: World, when: datetime) -> None:
    rows = still_world.truth(when)["dossiers"]
    assert isinstance(rows, list)
    for row in rows[::7]:
        if row["defect"].startswith("lost_"):
            continue
        dossier = still_world.by_code[row["code"]]
        since = epoch(datetime.fromisoformat(row["manifest_since"]))
        assert (row["defect"], row["where"]) in differences(still_world, dossier, since)
        assert (row["defect"], row["where"]) not in differences(still_world, dossier, since - 1)


@pytest.mark.parametrize("when", MOMENTS)
def test_healthy_copies_agree_once_the_lags_have_passed(still_world: World, when: datetime) -> None:
    at, compared = epoch(when), 0
    for dossier in still_world.dossiers:
        held, sent, shown = still_world.copies(dossier.code, when).values()
        if dossier.defect is not None or held is None or held.received_at is None:
            continue
        if dossier.unit.code in papers.TOLD_FALSELY:
            continue
        if held.updated_at + dossier.send_lag + dossier.show_lag > at:
            continue
        assert sent == held
        assert shown == held
        assert all(step.officer and step.title for step in held.steps)
        compared += 1
    assert compared > 2_000


def test_only_what_was_received_is_sent(still_world: World) -> None:
    for dossier in still_world.dossiers:
        if dossier.position(Kind.REJECTED):
            assert still_world.sent(dossier, dossier.times[-1] + 86_400) is None
            assert still_world.national(dossier, dossier.times[-1] + 86_400) is None


def test_rates(still_world: World) -> None:
    dossiers = [dossier for dossier in still_world.dossiers if dossier.received_at is not None]
    given = Counter(dossier.kind for dossier in dossiers)
    for kind, rate in {
        "lost_before_send": defects.LOST_BEFORE_SEND,
        "lost_after_send": defects.LOST_AFTER_SEND,
        "no_appointment": defects.NO_APPOINTMENT,
        "officer_missing": defects.OFFICER_MISSING,
        "officer_placeholder": defects.OFFICER_PLACEHOLDER,
        "appointment_differs": defects.APPOINTMENT_DIFFERS,
        "procedure_differs": defects.PROCEDURE_DIFFERS,
        "unit_differs": defects.UNIT_DIFFERS,
        "code_replaced": defects.CODE_REPLACED,
        "appointment_invented": defects.APPOINTMENT_INVENTED,
    }.items():
        assert given[kind] == pytest.approx(rate * len(dossiers), abs=3)
    stopped = [dossier for dossier in dossiers if dossier.position(*defects.OVERWRITTEN) is not None]
    assert given["status_overwritten"] == pytest.approx(defects.STATUS_OVERWRITTEN * len(stopped), abs=3)
    assert given["national_only"] == pytest.approx(defects.NATIONAL_ONLY * len(dossiers), abs=3)
