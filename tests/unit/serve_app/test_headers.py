"""What conditional requests and idempotency keys may look like in a header."""

import pytest

from portfolio.errors import InvalidRequest
from serve_app.headers import expected_version, key_of, known_tags


@pytest.mark.parametrize(
    ("if_match", "version"),
    [
        (None, None),
        ("*", None),
        (" * ", None),
        ('"7"', 7),
        (' "7" ', 7),
        ('"7.0"', 7),
        ('"7.1750000000000000"', 7),
        ('"999999999999999999"', 999_999_999_999_999_999),
    ],
)
def test_if_match_asks_for_a_version(if_match: str | None, version: int | None) -> None:
    assert expected_version(if_match) == version


@pytest.mark.parametrize(
    "if_match", ["", "7", '""', '"x"', 'W/"7"', '"7", "8"', '"-1"', '"7."', '"7.x"', '"1000000000000000000"', '"٧x"']
)
def test_an_if_match_that_names_no_single_version_is_refused(if_match: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        expected_version(if_match)
    assert refused.value.cause["field"] == "If-Match"


def test_an_if_match_in_other_digits_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        expected_version('"٧"')


@pytest.mark.parametrize(
    ("if_none_match", "tags"),
    [
        (None, ()),
        ("", ()),
        ("*", ("*",)),
        (" * ", ("*",)),
        ('"7.0"', ('"7.0"',)),
        ('W/"7.0"', ('"7.0"',)),
        ('"6.0", W/"7.0","8.0"', ('"6.0"', '"7.0"', '"8.0"')),
        ("7.0", ()),
        ('"7.0', ()),
    ],
)
def test_if_none_match_lists_the_tags_that_a_caller_has(if_none_match: str | None, tags: tuple[str, ...]) -> None:
    assert known_tags(if_none_match) == tags


def test_a_key_is_taken_as_it_is() -> None:
    assert key_of(None) is None
    assert key_of("day-1:1") == "day-1:1"
    assert key_of("k" * 255) == "k" * 255


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "a\x00b", "\x7f", "\ud800"])
def test_a_key_that_cannot_be_kept_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        key_of(key)
    assert refused.value.cause["field"] == "idempotency_key"
