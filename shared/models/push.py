"""Receipts of pushes: what was taken from which key, when, and what became of it. Written by ingest."""

from __future__ import annotations

from sqlalchemy import BigInteger, Identity, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.record import CODE, Code, Moment, Record


class PushReceipt(Record):
    """One push, or one batch of a stream (then `stream_id` is the receipt of the stream's first batch and
    `first_index` the position of its first line). Written in the transaction of the data: a receipt that is there says
    that its items are.

    `digest`: BLAKE2b-128 of the bytes that came. `items`: JSON text, `[code, result]` or `[code, result, field]`, with
    the result's first letter; an item that is not told stands as a number (how many were accepted in a row). So each
    item has its place, and a push of thousands that went well costs a few bytes (services/ingest/receipts.py)."""

    __tablename__ = "push_receipt"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True, cache=100), primary_key=True)
    key_id: Mapped[Code]
    door: Mapped[str] = mapped_column(CODE)
    portal: Mapped[str] = mapped_column(CODE)
    received_at: Mapped[Moment]
    stream_id: Mapped[int | None] = mapped_column(BigInteger)
    first_index: Mapped[int] = mapped_column(BigInteger)
    accepted: Mapped[int]
    unchanged: Mapped[int]
    stale: Mapped[int]
    rejected: Mapped[int]
    state: Mapped[str] = mapped_column(CODE)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    items: Mapped[str]

    __table_args__ = (Index(None, "key_id", "id"),)
