import pytest

from taskplane.gateway.strict_json import MAX_DEPTH, NotStrictJson, parse
from taskplane.server.core.documents import MAX_KEY_BYTES


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"1e2", 100),
        (b"3.0", 3),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", float(2**63)),
        ('"😀"'.encode(), "😀"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\u0000"', "\x00"),
        (nested(2), {"a": {"a": 1}}),
    ],
)
def test_json_is_read(text: bytes, value: object) -> None:
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a": NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"[-Infinity]", "-Infinity"),
        (b"1e400", "too great"),
        (b"9" * 400, "too great"),
        (b"9" * 10_000, "too great"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "twice"),
        (b'"\\ud83d"', "surrogate"),
        (b'{"\\ude00": 1}', "surrogate"),
        (b"\xff", "UTF-8 at byte 0"),
        (b'"\xed\xa0\xbd"', "UTF-8 at byte 1"),
        (b"", "not JSON"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": 1} x', "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'[{"%s": 1}]' % (b"k" * (MAX_KEY_BYTES + 1)), "key over 65535 bytes"),
        (f'{{"{"ü" * (MAX_KEY_BYTES // 2 + 1)}": 1}}'.encode(), "key over 65535 bytes"),
        (nested(MAX_DEPTH + 1), "deeper"),
        (b"[" * 200_000, "deeper"),
        (b"[" * 200_000 + b"]" * 200_000, "deeper"),
    ],
)
def test_what_is_ambiguous_or_no_json_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(NotStrictJson, match=why):
        parse(text)


def test_the_deepest_that_is_allowed_is_read() -> None:
    assert parse(nested(MAX_DEPTH))
