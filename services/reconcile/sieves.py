"""What each rule needs a full comparison to look at, as conditions of SQL. Pure: texts only.

A sieve is true of every case of which its rule could say FOUND, whatever the moment: those are looked at by the rule
itself (compare.py), so a sieve may let too much through, never too little (property-tested on a real PostgreSQL).

In a sieve {a} and {b} stand for the copies that the rule looks at (rows of `dossier` with `state`, their effective
status; all NULL where there is none), {p}, {s}, {n} for the provincial, sent and national copy, {asked} for what
the nation answered about it (`presence`), and the names of `sieve.VALUES` for the numbers in force. NULL counts as
false.
"""

from __future__ import annotations

from shared.vocabulary import Fact, Known

EVERY = "TRUE"
"""For a rule whose condition SQL cannot tell: all dossiers are looked at."""


def knows(field: Known, *copies: str) -> str:
    """Whether each of these copies is able to tell all of `field`."""
    bits = " & ".join(f"{{{copy}}}.known" for copy in copies)
    return f"{bits} & {field.value} = {field.value}"


def values_differ(column: str, field: Known) -> str:
    """Both know it, and one has none or they are not the same."""
    return f"{{a}}.{column} IS DISTINCT FROM {{b}}.{column} AND {knows(field, 'a', 'b')}"


def moments_differ(column: str, field: Known) -> str:
    """Both know it, and one has none or they lie further apart than one moment may."""
    a, b = f"{{a}}.{column}", f"{{b}}.{column}"
    within = f"{a} BETWEEN {b} - {{tolerance}} AND {b} + {{tolerance}}"
    return f"{a} IS DISTINCT FROM {b} AND {knows(field, 'a', 'b')} AND ({within}) IS NOT TRUE"


def text_judged(column: str, field: Known, cleared: str) -> str:
    """It knows the text, and the text is none or not one of those that the rule's own function has cleared."""
    return f"{knows(field, 'a')} AND ({{a}}.{column} = ANY({{{cleared}}})) IS NOT TRUE"


def lacks_in_state(column: str, field: Known, states: frozenset[int]) -> str:
    """The head tells a state that needs this date, knows the date, and has none."""
    needing = ", ".join(str(int(state)) for state in sorted(states))
    needs = f"{{a}}.state IN ({needing}) AND {{a}}.status = {{a}}.state AND {{a}}.version IS NOT NULL"
    return f"{{a}}.{column} IS NULL AND {needs} AND {knows(field, 'a')}"


STATES_DIFFER = "{a}.state <> {b}.state"
APPOINTMENTS_DIFFER = moments_differ("due_at", Known.DUE_AT)
ENDS_DIFFER = moments_differ("finished_at", Known.FINISHED_AT)
RESULT_IS_SUBMITTED = f"{{a}}.facts & {Fact.RESULT_IS_SUBMITTED.value} <> 0"
CASH_AS_ONLINE = (
    f"{{a}}.facts & {Fact.PAID_ONLINE.value | Fact.PAID_OTHERWISE.value} = {Fact.PAID_OTHERWISE.value}"
    f" AND {{b}}.facts & {Fact.PAID_ONLINE.value} <> 0"
)
PROVED_ABSENT = "{n}.code IS NULL AND NOT {asked}.found"
NOT_AT_HOME = "{p}.code IS NULL AND least({s}.received_at, {n}.received_at) <= {seen_when_received}"
UNITS_DIFFER = (
    f"{values_differ('unit_code', Known.UNIT)}"
    " AND {a}.unit_via IN ('agency_code', 'alias') AND {b}.unit_via IN ('agency_code', 'alias')"
)
DATES_IMPOSSIBLE = (
    "{a}.finished_at < {a}.received_at - {tolerance}"
    " OR {a}.received_at > {latest} OR {a}.finished_at > {latest}"
)
"""Also those that wait for their day: what lies in the future wakes the comparison then."""
