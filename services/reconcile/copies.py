"""Values that the comparison works on: what each portal says of one dossier, and what look-ups proved.
Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from shared.vocabulary import Fact, Known, Portal, UnitVia

_RESULT_IS_SUBMITTED = Fact.RESULT_IS_SUBMITTED.value
_PAID_ONLINE, _PAID_OTHERWISE = Fact.PAID_ONLINE.value, Fact.PAID_OTHERWISE.value


@dataclass(slots=True)
class Copy:
    """One portal's copy (shared/models/dossier.py has the meaning of each field; moments are aware).

    `known` (bits of vocabulary.Known) says which fields this copy is able to tell; `version` None: only steps have
    come, the head is unknown. `facts` (bits of vocabulary.Fact): what it says is true; what it does not know is not.
    """

    portal: Portal
    known: int
    version: datetime | None
    via: str
    learnt_at: datetime
    source_system: str = "unknown"
    procedure_code: str | None = None
    unit_code: str | None = None
    unit_name: str | None = None
    unit_via: str = UnitVia.NONE
    status: int | None = None
    cancelled: bool = False
    received_at: datetime | None = None
    due_at: datetime | None = None
    finished_at: datetime | None = None
    officer: str | None = None
    officer_title: str | None = None
    officer_at: datetime | None = None
    step_status: int | None = None
    step_status_at: datetime | None = None
    vanished_at: datetime | None = None
    facts: int = 0

    def knows(self, field: Known) -> bool:
        bits = field._value_  # a plain number: `in` and `&` of an IntFlag cost ten times as much
        return self.known & bits == bits

    @property
    def _step_leads(self) -> bool:
        """Whether the newest step that tells a state tells a later one than the head."""
        return (
            bool(self.step_status)
            and self.step_status_at is not None
            and (self.version is None or self.step_status_at > self.version)
        )

    @property
    def effective_status(self) -> int | None:
        """The newest state that this copy tells; None: unknown."""
        if self._step_leads:
            return self.step_status
        return self.status if self.knows(Known.STATUS) else None

    @property
    def status_at(self) -> datetime | None:
        """When what tells the state happened."""
        return self.step_status_at if self._step_leads else self.version

    @property
    def result_is_submitted(self) -> bool:
        """Whether a file of the result is one that was submitted."""
        return bool(self.facts & _RESULT_IS_SUBMITTED)

    @property
    def payment(self) -> str | None:
        """How it was paid: "online", "otherwise"; None: not, or not told."""
        if self.facts & _PAID_ONLINE:
            return "online"
        return "otherwise" if self.facts & _PAID_OTHERWISE else None

    @property
    def compared_unit(self) -> str | None:
        """The unit, where it was told; None where it is unknown or was only read off the dossier's code,
        which says who gave the code out and not who handles the dossier."""
        told = self.knows(Known.UNIT) and self.unit_via in (UnitVia.AGENCY_CODE, UnitVia.ALIAS)
        return self.unit_code if told else None


@dataclass(frozen=True, slots=True)
class Presence:
    """The newest proof that a portal holds the code, or does not. found None: not asked yet."""

    found: bool | None
    checked_at: datetime | None
    via: str | None


class Twin(NamedTuple):
    """A dossier that may be the same one under another code (pairs.py): `of` is the province's, `code` what the
    nation knows."""

    of: str
    code: str


@dataclass(frozen=True, slots=True)
class Proofs:
    """national: a look-up of this very code (or a complete list window). provincial: the system listed the code,
    though its row could not be taken. provincial_complete_through: everything that the provincial system held
    at that moment has been seen. twin: the pair that this code is one half of."""

    national: Presence | None = None
    provincial: Presence | None = None
    provincial_complete_through: datetime | None = None
    twin: Twin | None = None
