"""The decoder of PostgreSQL's replication messages, on bytes written by hand from the protocol's description."""

import struct

import pytest

from starberg.ingestion.pgoutput import UNCHANGED, Begin, Change, Commit, Decoder, Relation, Truncate
from starberg.utils.errors import SourceDataError

ITEMS = Relation(7, "public.items", "d", ("id", "name"), ("id",))


def relation(oid: int = 7, columns: tuple[tuple[int, str], ...] = ((1, "id"), (0, "name"))) -> bytes:
    body = b"R" + struct.pack(">I", oid) + b"public\0items\0d" + struct.pack(">H", len(columns))
    for flags, name in columns:
        body += bytes([flags]) + name.encode() + b"\0" + struct.pack(">Ii", 25, -1)
    return body


def row(*values: object) -> bytes:
    body = struct.pack(">H", len(values))
    for value in values:
        if value is None:
            body += b"n"
        elif value is UNCHANGED:
            body += b"u"
        else:
            text = str(value).encode()
            body += b"t" + struct.pack(">I", len(text)) + text
    return body


@pytest.fixture
def decoder() -> Decoder:
    decoder = Decoder()
    assert list(decoder.decode(relation())) == []
    return decoder


def test_a_transaction_has_its_commit_place_time_and_number() -> None:
    decoder = Decoder()
    assert list(decoder.decode(b"B" + struct.pack(">QqI", 100, 0, 42))) == [Begin(100, 946_684_800_000_000, 42)]
    assert list(decoder.decode(b"C\0" + struct.pack(">QQq", 100, 120, 0))) == [Commit(100, 120)]


def test_an_insert_has_the_new_row(decoder: Decoder) -> None:
    message = b"I" + struct.pack(">I", 7) + b"N" + row("1", "ä")
    assert list(decoder.decode(message)) == [Change("I", ITEMS, {"id": "1", "name": "ä"}, None)]


def test_an_update_may_have_the_old_key_or_the_old_row(decoder: Decoder) -> None:
    head = b"U" + struct.pack(">I", 7)
    new = {"id": "2", "name": UNCHANGED}
    assert list(decoder.decode(head + b"N" + row("2", UNCHANGED))) == [Change("U", ITEMS, new, None)]
    old = {"id": "1", "name": None}
    with_key = head + b"K" + row("1", None) + b"N" + row("2", UNCHANGED)
    assert list(decoder.decode(with_key)) == [Change("U", ITEMS, new, old, True)]
    with_row = head + b"O" + row("1", "a") + b"N" + row("2", "b")
    [change] = decoder.decode(with_row)
    assert isinstance(change, Change)
    assert (change.old, change.old_is_key) == ({"id": "1", "name": "a"}, False)


def test_a_delete_has_the_old_key(decoder: Decoder) -> None:
    message = b"D" + struct.pack(">I", 7) + b"K" + row("1", None)
    assert list(decoder.decode(message)) == [Change("D", ITEMS, None, {"id": "1", "name": None}, True)]


def test_a_truncate_names_its_tables(decoder: Decoder) -> None:
    assert list(decoder.decode(b"T" + struct.pack(">IBI", 1, 0, 7))) == [Truncate((ITEMS,))]


def test_a_relation_told_again_is_as_it_is_now(decoder: Decoder) -> None:
    list(decoder.decode(relation(columns=((1, "id"), (0, "name"), (0, "more")))))
    [change] = decoder.decode(b"I" + struct.pack(">I", 7) + b"N" + row("1", None, "x"))
    assert isinstance(change, Change)
    assert change.new == {"id": "1", "name": None, "more": "x"}


@pytest.mark.parametrize("message", [b"Y" + b"\0" * 8, b"O" + b"\0" * 9, b"M" + b"\0" * 14])
def test_messages_without_rows_say_nothing(decoder: Decoder, message: bytes) -> None:
    assert list(decoder.decode(message)) == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"Z",
        b"I" + struct.pack(">I", 9) + b"N" + row("1", "a"),
        b"I" + struct.pack(">I", 7) + b"N" + row("1"),
        b"I" + struct.pack(">I", 7) + b"N" + row("1", "abc")[:-1],
        b"R" + struct.pack(">I", 7) + b"public",
        b"I" + struct.pack(">I", 7) + b"N" + struct.pack(">H", 2) + b"x",
    ],
)
def test_a_message_that_is_none_is_refused(decoder: Decoder, message: bytes) -> None:
    with pytest.raises(SourceDataError, match="a message of the replication log cannot be read"):
        list(decoder.decode(message))
