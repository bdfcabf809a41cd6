"""Cursors lead back to where they came from, and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portfolio.errors import InvalidRequest
from serve_app.cursors import CURSOR_LENGTH_MAX, cursor_of, place_of

PLACES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=100)


@given(PLACES)
def test_a_cursor_leads_back_to_its_place(place: str) -> None:
    cursor = cursor_of(place)
    assert place_of(cursor) == place
    assert len(cursor) <= CURSOR_LENGTH_MAX
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_is_the_cursor_of_its_place(text: str) -> None:
    try:
        place = place_of(text)
    except InvalidRequest:
        return
    assert cursor_of(place) == text


@pytest.mark.parametrize("cursor", ["", "!", "Zm9v=", "Zm9", "Zm9vYh", "AAAA", "w6k", "Zm9v\n", "é", "\ud800"])
def test_a_cursor_that_no_page_gave_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        place_of(cursor)
    assert refused.value.cause["field"] == "cursor"
