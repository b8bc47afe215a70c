"""What can go wrong, by what happened. Concrete errors subclass one of these and live beside what raises them;
shared/problems.py has the one table that says which HTTP status each is.

    ChisoError
    ├── Unreadable        the bytes are not what they claim to be (JSON, encoding)
    ├── Unauthenticated   no key, an unknown or a revoked one
    ├── Forbidden         a known key, outside its role or its unit
    ├── NotFound
    ├── Conflict          the state does not allow it (already running, already exists)
    ├── TooLarge
    ├── Invalid           readable, but a value breaks a rule; names the field
    └── Unavailable       a system that we need does not answer
"""

from __future__ import annotations


class ChisoError(Exception):
    """vi: a sentence for an officer. en: one for a developer or a log. Neither ever holds a value that came in.

    `field` is a path in the input ("rows[3].code"); `extra` goes into the problem document as it is.
    """

    def __init__(self, vi: str, en: str, *, field: str | None = None, **extra: object) -> None:
        super().__init__(en)
        self.vi = vi
        self.en = en
        self.field = field
        self.extra = extra


def where(error: BaseException) -> str:
    """File and line that raised it: of an error that is not ours the log tells its kind and this, never its text."""
    trace = error.__traceback__
    place = "?"
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rsplit('/', 2)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


class Unreadable(ChisoError): ...


class Unauthenticated(ChisoError): ...


class Forbidden(ChisoError): ...


class NotFound(ChisoError): ...


class Conflict(ChisoError): ...


class TooLarge(ChisoError): ...


class UnsupportedType(ChisoError): ...


class Invalid(ChisoError): ...


class Unavailable(ChisoError): ...
