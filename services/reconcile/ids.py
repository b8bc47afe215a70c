"""Identities that sort by time of birth and need no sequence (UUIDv7, RFC 9562 §5.7)."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID


def new_id(now: datetime) -> UUID:
    """48 bits of milliseconds, version and variant, 74 random bits."""
    bits = int(now.timestamp() * 1000) << 80 | 7 << 76 | secrets.randbits(12) << 64
    return UUID(int=bits | 0b10 << 62 | secrets.randbits(62))
