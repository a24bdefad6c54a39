"""Pages as text: cut along record borders, never rebuilt, readable by others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starberg.ingestion.json_pages import (
    Malformed,
    TooLarge,
    at,
    decoder_of,
    envelope,
    envelope_of_records,
    nest,
    read_json,
    readable_records,
    record_texts,
    unpack,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6), st.sampled_from(["", "items", "a.b"]), st.sampled_from([None, 0, 2]), st.booleans())
def test_records_are_cut_out_as_they_stand(records: list[Any], path: str, indent: int | None, ascii_only: bool) -> None:
    body: Any = nest(path, records)
    if isinstance(body, dict):
        body = {"before": [1, {"items": 2}], **body, "after": "]}"}
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    cut = record_texts(text, path)
    assert [json.loads(one) for one in cut] == records
    assert all(one in text for one in cut)


@given(st.lists(JSON, max_size=4), st.sampled_from(["", "items", "a.b"]), st.sampled_from([None, 2]))
def test_an_envelope_is_one_line_with_the_same_records(records: list[Any], path: str, indent: int | None) -> None:
    body = read_json(json.dumps(nest(path, records), indent=indent).encode("utf-8", "surrogatepass"))
    if body.clean:
        line = envelope("items?page=1", body, path)
        assert line.count(b"\n") == 1
        assert json.loads(line) == {"page": "items?page=1", "records": records}


@given(
    st.lists(st.dictionaries(st.sampled_from(["id", "n", "é", "k"]), JSON), max_size=4),
    st.sampled_from(["", "items", "a.b"]),
    JSON,
)
def test_a_decoder_of_some_fields_sees_those_as_they_are(records: list[Any], path: str, total: Any) -> None:
    body = {"total": total, "z": total, **nest(path, records)} if path else records
    raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    whole, some = read_json(raw), read_json(raw, decoder=decoder_of(path, frozenset({"id", "k"}), frozenset({"total"})))
    assert (some.clean, some.raw) == (whole.clean, whole.raw)
    if some.clean:
        assert at(some.data, path) == [{n: v for n, v in one.items() if n in ("id", "k")} for one in records]
        assert not path or some.data["total"] == total


@pytest.mark.parametrize(
    "odd", [b'{"items": null}', b'{"items": [5]}', b'{"items": {"id": 1}}', b"[]", b'{"a": "\xff"}']
)
def test_a_body_of_another_shape_is_read_whole(odd: bytes) -> None:
    assert read_json(odd, decoder=decoder_of("items", frozenset({"id"}), frozenset())) == read_json(odd)


def test_of_lists_of_one_name_the_last_is_read_and_kept() -> None:
    body = read_json(b'{"items": [1], "items": [2]}')
    assert at(body.data, "items") == [2]
    assert b"[2]" in envelope("p", body, "items")


@pytest.mark.parametrize("odd", [b"1e400", b"12345678901234567890123456789", b"-0.0", b'"\\ud83d\\ude00"'])
def test_odd_values_keep_their_spelling(odd: bytes) -> None:
    assert odd in envelope("p", read_json(b"\xef\xbb\xbf[" + odd + b"]"), "")
    assert odd in envelope("p", read_json(b'{"items": [' + odd + b"]}"), "items")


@given(st.binary(max_size=60))
def test_any_bytes_are_json_or_malformed(data: bytes) -> None:
    try:
        body = read_json(data)
    except Malformed:
        return
    if body.clean:
        envelope("p", body, "").decode()


@given(st.binary(max_size=20))
def test_a_record_nobody_can_read_is_shown_escaped(junk: bytes) -> None:
    quoted = b'"' + b"".join(b"" if byte in b'"\\' or byte < 32 else bytes([byte]) for byte in junk) + b'"'
    body = read_json(b'{"items": [{"id": 7, "n": ' + quoted + b'}, {"id": 8}]}')
    texts = readable_records(body, "items", ["id"])
    assert [json.loads(text)["id"] for text in texts] == [7, 8]
    assert ("_unreadable" in json.loads(texts[0])) == (not body.clean)
    envelope_of_records("p", texts).decode()


def test_unwanted_records_are_left_out() -> None:
    body = read_json(b'{"items": [{"id": 1.0}, {"id": 2}, {"id": 3}]}')
    kept = readable_records(body, "items", ["id"], [True, False, True])
    assert kept == ['{"id": 1.0}', '{"id": 3}']
    assert json.loads(envelope_of_records("p", kept)) == {"page": "p", "records": [{"id": 1}, {"id": 3}]}


def test_nested_keys_are_found_in_unreadable_records() -> None:
    body = read_json(b'[{"meta": {"id": 1, "part": 2, "bad": "\xff"}}]')
    [text] = readable_records(body, "", ["meta.id", "meta.part", "meta.bad", "none"])
    assert {name: value for name, value in json.loads(text).items() if name != "_unreadable"} == {
        "meta": {"id": 1, "part": 2}
    }


def test_of_equal_keys_the_last_one_counts() -> None:
    text = '{"items": [1], "items": [2, 3]}'
    assert record_texts(text, "items") == ["2", "3"]
    assert at(json.loads(text), "items") == [2, 3]


def test_a_byte_order_mark_is_left_out() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}').raw == b'{"a": 1}'
    assert read_json('{"a": 1}'.encode("utf-16")).raw == b'{"a": 1}'


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_packed_parts_are_joined_up_to_the_limit(encoding: str) -> None:
    import gzip

    body = gzip.compress(b"ab") + gzip.compress(b"cd")
    assert unpack(body, encoding, 4) == b"abcd"
    with pytest.raises(TooLarge):
        unpack(body, encoding, 3)
    with pytest.raises(Malformed, match="truncated"):
        unpack(body[:-3], encoding, 4)


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"1" * 5000, b'{"a": NaN}', b'"\x00"', b"{} {}"])
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_json(body)
