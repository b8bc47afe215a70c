"""The unit tree, from both portals."""

from __future__ import annotations

from services.ingest import directory, runs
from services.ingest.naming import follow_tree, tree_stamp
from services.ingest.normalise import Refused, clean
from services.ingest.portals import igate_units
from services.ingest.portals import national_reference as reference
from services.ingest.portals.national import NationalPortal
from services.ingest.portals.provincial import ProvincialPortal
from services.ingest.reference_rows import gather, quarantine, read_rows
from shared.identifiers import is_within, normalise_unit_code
from shared.vocabulary import Mark

DEEPEST = 5


async def national_units(job: runs.Job) -> None:
    """LayDanhMucCoQuan: the tree below our province, and each unit's name as an alias. Raises as the client,
    RunLost, Stopped."""
    run = job.run
    async with NationalPortal.of(job.settings, retry=job.retry) as portal:
        rows = await portal.list_units()
    good, bad = read_rows(rows, reference.unit)
    ours = [row for row in good if is_within(row.code, job.settings.province_code)]
    now = job.settings.now()
    async with job.page() as session:
        await quarantine(session, run, bad, now)
        before = await tree_stamp(session)
        changed = await directory.write_units(session, ours, source="national", now=now)
        names = [(row.name, row.code) for row in ours]
        renamed = await directory.write_aliases(session, names, source="national", now=now)
        if changed or renamed:
            await follow_tree(session, before, now=now)
        await runs.advance(
            session,
            run,
            cursor={},
            items=len(rows),
            accepted=changed,
            unchanged=len(ours) - changed,
            rejected=len(bad),
            total=len(rows),
        )
        complete = bool(ours) and not bad
        await runs.finish(
            session,
            run,
            now=now,
            complete=complete,
            complete_through=run.started_at if complete else None,
        )


async def provincial_units(job: runs.Job) -> None:
    """ba/agency below the province: names as aliases, and units that the national list does not know (not
    verified). The province's own id is told by its dossiers only; without any there is nothing to pull
    yet."""
    run = job.run
    found: list[igate_units.AgencyItem] = []
    async with ProvincialPortal.of(job.settings, retry=job.retry) as portal:
        page = await portal.search(0, 50)
        root = igate_units.root_of(page.content, job.settings.province_code)
        if root is not None:
            found.append(await portal.agency(root))
            found += await _below(portal, root)
    rows, bad = read_rows(found, _agency)
    units = {row.code: row for row in rows if is_within(row.code, job.settings.province_code)}
    now = job.settings.now()
    async with job.page() as session:
        await quarantine(session, run, bad, now)
        before = await tree_stamp(session)
        leveled = [row for row in units.values() if row.level is not None]
        changed = await directory.write_units(session, leveled, source="provincial", now=now, only_new=True)
        names = [(row.name, row.code) for row in units.values()]
        renamed = await directory.write_aliases(session, names, source="provincial", now=now)
        if changed or renamed:
            await follow_tree(session, before, now=now)
        await runs.advance(
            session,
            run,
            cursor={},
            items=len(found),
            accepted=changed,
            unchanged=len(units) - changed,
            rejected=len(bad),
            total=len(found),
        )
        complete = root is not None and not bad
        await runs.finish(
            session,
            run,
            now=now,
            complete=complete,
            complete_through=run.started_at if complete else None,
        )


async def _below(portal: ProvincialPortal, root: str) -> list[igate_units.AgencyItem]:
    """All units below one, level by level. A unit that is its own ancestor is met once."""
    found: list[igate_units.AgencyItem] = []
    seen, level = {root}, [root]
    for _ in range(DEEPEST):
        children = await gather(level, lambda parent: _children(portal, parent))
        level = []
        for child in (each for group in children for each in group):
            if child.id and child.id not in seen:
                seen.add(child.id)
                level.append(child.id)
                found.append(child)
        if not level:
            break
    return found


async def _children(portal: ProvincialPortal, parent: str) -> list[igate_units.AgencyItem]:
    found: list[igate_units.AgencyItem] = []
    number = 0
    while True:
        page = await portal.agencies_below(parent, number)
        for raw in page.content:
            item = igate_units.decode_agency(raw)
            if item is None:
                raise portal.answer_invalid()
            found.append(item)
        number += 1
        if page.last or not page.content:
            return found


def _agency(item: object) -> reference.UnitRow:
    assert isinstance(item, igate_units.AgencyItem)
    name = clean(igate_units.agency_name(item), "name", limit=reference.NAME_LIMIT)
    if not item.code or name is None:
        raise Refused("code", "Đơn vị thiếu mã hoặc tên.", "code, name: both are needed")
    level = reference.UNIT_LEVELS.get(str(item.level.id)) if item.level else None
    code = normalise_unit_code(item.code)
    parent = item.parent.code if item.parent and item.parent.code else None
    return reference.UnitRow(
        code=code,
        name=name,
        level=level,
        parent_code=normalise_unit_code(parent) if parent else code.rpartition(".")[0] or None,
        mark=Mark.NOT_VERIFIED,
    )
