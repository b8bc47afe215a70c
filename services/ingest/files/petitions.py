"""A row of a petitions file → an item of our own form. Pure. The columns that are read are the allow-list, as for
dossiers; whoever petitioned and what was written have not even left the process that reads the file."""

from __future__ import annotations

from collections.abc import Callable

from services.ingest.files.cells import moment, text
from services.ingest.files.columns import Words
from services.ingest.normalise import Refused
from services.ingest.petition_messages import TIMES, PushedPetition
from shared.identifiers import name_key

_TEXTS = ("code", "dossier_code", "repeats_code", "unit_code", "unit_name", "likes", "dislikes")


def reader(words: Words, *, exported_at: str | None) -> Callable[[dict[str, object]], PushedPetition]:
    """What reads one row. `exported_at`: a stamp; the age of what a row says where it does not tell when it was
    updated. Raises Refused."""

    def read(cells: dict[str, object]) -> PushedPetition:
        told = {name: text(cells.get(name)) for name in _TEXTS}
        at = {name: moment(cells.get(name), name) for name in TIMES}
        return PushedPetition(
            **told,
            **at,
            kind=_kind(text(cells.get("kind")), words),
            updated_at=moment(cells.get("updated_at"), "updated_at") or exported_at,
        )

    return read


def _kind(told: str | None, words: Words) -> str | None:
    if told is None:
        return None
    found = words.kinds.get(name_key(told))
    if found is None:
        raise Refused(
            "kind",
            "kind: giá trị không có trong danh mục của cấu hình (columns.toml).",
            "kind: not among the configured words (columns.toml)",
        )
    return found.value
