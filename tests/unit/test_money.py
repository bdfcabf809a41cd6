"""Exact decimals: rounding, scales and limits."""

from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portfolio import money
from portfolio.errors import InvalidRequest
from tests.oracles.builders import book_of, buy, sell
from tests.oracles.reference import rounded

Rounding = Callable[[Decimal], Decimal]
ROUNDINGS: list[tuple[Rounding, int]] = [(money.round2, 2), (money.round6, 6), (money.round8, 8)]


@st.composite
def numbers(draw: st.DrawFn) -> Decimal:
    """Numbers of up to 45 digits, many of them ties at some scale."""
    digits = str(draw(st.integers(-(10**44), 10**44))) + draw(st.sampled_from(("", "5", "49999", "50001")))
    return Decimal(digits).scaleb(draw(st.integers(-20, 0)), money.CONTEXT)


@pytest.mark.parametrize(("round_to", "decimals"), ROUNDINGS)
@given(number=numbers())
@example(number=Decimal("-0"))
@example(number=Decimal("-0.000000001"))
@example(number=Decimal("0.00499999999999999999999999999999999999999999"))
@example(number=Decimal("-999999999999999999999999.995"))
def test_rounding_is_that_of_postgres_numeric_and_gives_no_negative_zero(
    round_to: Rounding, decimals: int, number: Decimal
) -> None:
    result = round_to(number)
    assert Fraction(result) == rounded(Fraction(number), decimals)
    assert result.as_tuple().exponent == -decimals
    assert result or not result.is_signed()


@pytest.mark.parametrize(
    ("number", "cents"),
    [("0.005", "0.01"), ("-0.005", "-0.01"), ("0.0049", "0.00"), ("-0.0049", "0.00"), ("2.675", "2.68")],
)
def test_halves_go_away_from_zero(number: str, cents: str) -> None:
    assert str(money.round2(Decimal(number))) == cents


@pytest.mark.parametrize(
    ("number", "scale", "written"),
    [
        ("100", 2, "100.00"),
        ("1E+2", 2, "100.00"),
        ("1.500000000000000000000000000000000", 2, "1.50"),
        ("-0", 8, "0.00000000"),
        ("0E-999999999", 2, "0.00"),
        ("0E+999999999", 6, "0.000000"),
        ("-999999999999.99999999", 8, "-999999999999.99999999"),
    ],
)
def test_an_exact_number_is_written_at_its_scale(number: str, scale: int, written: str) -> None:
    assert f"{money.exact(Decimal(number), field='price', scale=scale):f}" == written


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        ("1000000000000", {"field": "price", "limit": "1e12"}),
        ("-1000000000000", {"field": "price", "limit": "1e12"}),
        ("9.9999999E+999999999999999999", {"field": "price", "limit": "1e12"}),
        ("999999999999.999", {"field": "price", "limit": 2}),
        ("1E-999999999999999999", {"field": "price", "limit": 2}),
        ("NaN", {"field": "price"}),
        ("sNaN", {"field": "price"}),
        ("-Infinity", {"field": "price"}),
    ],
)
def test_a_number_that_does_not_fit_is_refused_by_name(number: str, cause: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"^price is ") as caught:
        money.exact(Decimal(number), field="price", scale=2)
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0E-8", "0.00000000"),
        ("1E+3", "1000"),
        ("-1E-8", "-0.00000001"),
        ("1E+400", "1.000000e+400"),
        ("1" * 40, "1.111111e+39"),
    ],
)
def test_a_number_in_a_message_is_plain_unless_very_long(number: str, text: str) -> None:
    assert money.shown(Decimal(number)) == text


def test_figures_at_the_limits_are_exact() -> None:
    largest = "999999999999.99999999"
    assert money.multiply(Decimal(largest), Decimal(largest)) == Decimal("999999999999999999980000.0000000000000001")
    book = book_of(buy(largest, "999999.99"), sell("0.00000001", "1"))
    position = book.positions[buy("1", "1").instrument_id]
    assert f"{position.quantity:f}" == "999999999999.99999998"
    assert f"{position.cost_basis:f}" == "999999989999999999.980000"
    assert book.realized_pnl == Decimal("-0.010000")


def test_the_reference_disagrees_with_a_rounding_to_even() -> None:
    with localcontext(Context(prec=50)):
        assert Fraction(Decimal("0.125").quantize(Decimal("0.01"))) != rounded(Fraction(1, 8), 2)
