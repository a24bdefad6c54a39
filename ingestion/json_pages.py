"""A page's bytes: checked to be JSON, and handed on as the server sent them.

Records are not rebuilt in Python. A page goes into the spool as one line holding the server's own text of its list;
only where that text cannot be read by others (bytes that are not UTF-8, half a surrogate pair) or where some records
are not wanted is the list cut along its records' own borders.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

import msgspec

from starberg.engines.records import UNREADABLE

Decoder = msgspec.json.Decoder[Any]

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BLANK = re.compile(r"[ \t\r\n]*")


class Malformed(ValueError):
    """A body is not JSON; `lasting`: asking again will not help; `packed`: it could not even be decompressed."""

    def __init__(self, reason: str, *, lasting: bool = False, packed: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting
        self.packed = packed


class TooLarge(ValueError):
    """A body is larger than allowed once decompressed."""


@dataclass(frozen=True)
class JsonBody:
    """A parsed body and the server's text of it; `clean` tells that every character of it is a whole one."""

    raw: bytes
    """UTF-8 without byte order mark, if clean; else the bytes as they came."""
    data: Any
    clean: bool


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo `Content-Encoding: gzip`, never producing more than `limit` bytes; Malformed, TooLarge."""
    if encoding.lower() not in ("gzip", "x-gzip"):
        return body
    parts: list[bytes] = []
    while body:
        decoder = zlib.decompressobj(wbits=31)
        try:
            parts.append(decoder.decompress(body, limit + 1))
        except zlib.error as fault:
            raise Malformed(f"broken gzip: {fault}", packed=True) from None
        if sum(map(len, parts)) > limit:
            raise TooLarge
        if not decoder.eof:
            raise Malformed("truncated gzip", packed=True)
        body = decoder.unused_data
    return b"".join(parts)


def read_json(body: bytes, charset: str = "", decoder: Decoder | None = None) -> JsonBody:
    """Parse a body, wholly or as far as `decoder` (see `decoder_of`) looks; Malformed says what is wrong with it."""
    # msgspec is quick and takes clean JSON only; what it skips it does not look into, so UTF-8 is checked first.
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body.decode()
        return JsonBody(body, (decoder or _CLEAN).decode(body), clean=True)
    text, raw, decoded = _decode(body, charset)
    try:
        data = _DECODER.decode(text)
        clean = decoded and not _has_half_pairs(text, data)
    except Malformed:
        raise
    except ValueError as fault:
        raise Malformed(str(fault)) from None
    except RecursionError:
        raise Malformed("nested too deeply", lasting=True) from None
    return JsonBody(raw, data, clean)


def _decode(body: bytes, charset: str) -> tuple[str, bytes, bool]:
    """Return a body as text and as UTF-8, and whether it could be decoded.

    JSON is UTF-8, whatever the header says; the header is asked where the bytes are not.
    """
    for encoding in (json.detect_encoding(body), charset):
        with suppress(UnicodeDecodeError, LookupError):
            text = body.decode(encoding)
            return text, body if encoding == "utf-8" else text.encode(), True
    return body.decode("utf-8", "surrogateescape"), body, False


def _has_half_pairs(text: str, data: Any) -> bool:
    """Tell whether half a surrogate pair is written as an escape."""
    return "\\u" in text and bool(_SURROGATE.search(text)) and not _is_unicode(json.dumps(data, ensure_ascii=False))


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON", lasting=True)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_CLEAN = msgspec.json.Decoder()
_typed_dict: Any = TypedDict
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


@lru_cache
def decoder_of(path: str, fields: frozenset[str], beside: frozenset[str]) -> Decoder | None:
    """Return a decoder that makes objects of a few fields only: making all is most of the time a page takes.

    `fields` are those of the records, which stand at a dotted path; `beside` are those at the top of the body. None for
    a name that is not ASCII: msgspec 0.22 does not find it.
    """
    if not "".join([path, *fields, *beside]).isascii():
        return None
    record: Any = _typed_dict("Record", dict.fromkeys(fields, Any), total=False)
    shape: Any = list[record]
    outer, *_ = names = path.split(".") if path else [""]
    for name in filter(None, reversed(names)):
        others = dict.fromkeys(beside, Any) if name is outer else {}
        shape = _typed_dict("Body", {**others, name: shape}, total=False)
    return msgspec.json.Decoder(shape)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def at(data: Any, path: str, absent: Any = None) -> Any:
    """Return what stands at a dotted path, `absent` if nothing does."""
    for name in path.split(".") if path else ():
        if not isinstance(data, dict) or name not in data:
            return absent
        data = data[name]
    return data


def nest(path: str, value: Any) -> Any:
    """Return `value` wrapped in objects so that it stands at a dotted path."""
    for name in reversed([name for name in path.split(".") if name]):
        value = {name: value}
    return value


def envelope(page: str, body: JsonBody, path: str) -> bytes:
    """Return one spool line with the list at a dotted path of a clean body, as it was sent."""
    found = body.raw
    for name in path.split(".") if path else ():
        found = bytes(_MEMBERS.decode(found)[name])
    return _line(page, found)


def envelope_of_records(page: str, records: Sequence[str]) -> bytes:
    """Return one spool line with these records, each as JSON text."""
    return _line(page, f"[{','.join(records)}]".encode())


def _line(page: str, records: bytes) -> bytes:
    one_line = records.replace(b"\n", b" ").replace(b"\r", b" ")  # in valid JSON they stand between tokens only
    return b'{"page":' + json.dumps(page).encode() + b',"records":' + one_line + b"}\n"


def readable_records(body: JsonBody, path: str, keys: Sequence[str], keep: Sequence[bool] | None = None) -> list[str]:
    """Return the text of the wanted records at `path`, one that is not valid Unicode as `{_unreadable, keys}`."""
    records = at(body.data, path)
    texts = record_texts(body.raw.decode("utf-8", "surrogateescape"), path)
    wanted = keep or [True] * len(texts)
    return [
        text
        if body.clean or (_is_unicode(text) and not _has_half_pairs(text, record))
        else _stand_in(text, record, keys)
        for text, record, kept in zip(texts, records, wanted, strict=True)
        if kept
    ]


def _stand_in(text: str, record: Any, keys: Sequence[str]) -> str:
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    fields: dict[str, Any] = {UNREADABLE: shown}
    for path in keys:
        value = at(record, path)
        if value is not None and _is_unicode(json.dumps(value, ensure_ascii=False)):
            merge(fields, nest(path, value))
    return json.dumps(fields)


def merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the fields of one object to another, nested objects too."""
    for name, value in other.items():
        if isinstance(into.get(name), dict) and isinstance(value, dict):
            merge(into[name], value)
        else:
            into[name] = value


def record_texts(text: str, path: str) -> list[str]:
    """Return the text of each element of the list at a dotted path of valid JSON."""
    start = _skip(text, 0)
    for name in filter(None, path.split(".")):
        start = max(begin for key, begin in _members(text, start) if key == name)  # of equal keys the last one counts
    return [text[begin:end] for begin, end in _elements(text, start)]


def _elements(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield where each element of the list at `start` begins and ends."""
    position = _skip(text, start + 1)
    while text[position] != "]":
        _, end = _DECODER.raw_decode(text, position)
        yield position, end
        position = _after_comma(text, end)


def _members(text: str, start: int) -> Iterator[tuple[str, int]]:
    """Yield each key of the object at `start` and where its value begins."""
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, end = _DECODER.raw_decode(text, position)
        begin = _skip(text, _skip(text, end) + 1)
        yield key, begin
        _, end = _DECODER.raw_decode(text, begin)
        position = _after_comma(text, end)


def _after_comma(text: str, end: int) -> int:
    position = _skip(text, end)
    return _skip(text, position + 1) if text[position] == "," else position


def _skip(text: str, position: int) -> int:
    """Return the position of the next character that is not white space."""
    return _BLANK.match(text, position).end()  # type: ignore[union-attr]  # the pattern matches nothing too
