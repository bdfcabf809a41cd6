"""The checker finds what only the moments of calls, or the content of answers, can show."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from portfolio.ids import ShardId
from tests.chaos.breaches import Breach
from tests.chaos.checker import check
from tests.chaos.history import Answer, Asked, Content, Owner, Read, Wanted, content_of
from tests.chaos.journal_checks import ShardJournal
from tests.chaos.sweep import Known, Told, told_less
from tests.chaos.test_checker import FIRST, SECOND, SHARD, chained, journal, numbered, pending

pytestmark = pytest.mark.unit


def buys(key: str, version: int, sent: float, answered: float, *, portfolio: str = FIRST, epoch: int = 1) -> Asked:
    """One unit of X for 10, acknowledged at a version."""
    return Asked(
        key=key,
        portfolio_id=portfolio,
        transactions=(Wanted("BUY", "X", Decimal(1), Decimal(10)),),
        answer=Answer.ACKNOWLEDGED,
        version=version,
        sent=sent,
        last_sent=sent,
        answered=answered,
        owners=(Owner(SHARD, epoch),),
        content=holding(version - 1),
    )


def holding(units: int) -> Content:
    return content_of(Decimal(-10 * units), [("X", Decimal(units))])


def reads(version: int, sent: float, answered: float, *, epoch: int = 1) -> Read:
    return Read(
        portfolio_id=FIRST,
        version=version,
        sent=sent,
        answered=answered,
        owners=(Owner(SHARD, epoch),),
        content=holding(version - 1),
    )


UPDATES = [buys("a", 2, 0, 1), buys("b", 3, 2, 3), buys("c", 4, 4, 5), buys("d", 2, 4, 5, portfolio=SECOND)]
READS = [reads(2, 1.2, 1.4), reads(3, 2.1, 2.9), reads(3, 3.1, 3.2), reads(4, 6, 7)]
"""The second read was under way with the update that it shows; the third came after it."""


def in_order(*updates: Asked) -> ShardJournal:
    """The journal in which these were booked, in this order."""
    return journal(numbered(pending(updates)))


def breaches(updates: list[Asked], shown: list[Read], booked: ShardJournal | None = None) -> set[Breach]:
    return {finding.breach for finding in check(updates, {SHARD: booked or in_order(*UPDATES)}, shown)}


def test_a_good_history_has_no_findings() -> None:
    assert breaches(UPDATES, READS) == set()


def test_what_was_under_way_together_may_be_served_in_any_order() -> None:
    together = [buys("a", 3, 0, 5), buys("b", 2, 1, 4)]
    shown = [reads(3, 0.5, 2), reads(2, 1, 3), reads(1, 0.9, 3)]
    assert breaches(together, shown, in_order(together[1], together[0])) == set()


def test_a_stale_read_is_found() -> None:
    assert breaches(UPDATES, [*READS, reads(3, 5.1, 5.2)]) == {Breach.STALE}


def test_a_stale_answer_to_a_repeat_is_found() -> None:
    repeat = replace(UPDATES[0], replayed=True, version=2, last_sent=5.5, answered=6.0)
    assert breaches([repeat, *UPDATES[1:]], []) == {Breach.STALE}


def test_a_read_that_goes_back_is_found() -> None:
    # Nobody was told yet of what the first read shows, so that it alone tells that the second is old.
    unanswered = [*UPDATES[:2], replace(UPDATES[2], answer=Answer.UNKNOWN, version=None, content=None), UPDATES[3]]
    assert breaches(unanswered, [reads(4, 4.1, 4.2), reads(3, 4.3, 4.4)]) == {Breach.REVERTED}


def test_a_reordered_pair_is_found() -> None:
    a, b, *rest = UPDATES
    swapped = [replace(a, version=3, content=None), replace(b, version=2, content=None), *rest]
    assert breaches(swapped, [], in_order(b, a, *rest)) == {Breach.REORDERED}


def test_a_reordered_pair_is_found_although_the_later_client_does_not_know() -> None:
    a, b, *rest = UPDATES
    swapped = [
        replace(a, version=3, content=None),
        replace(b, answer=Answer.UNKNOWN, version=None, content=None),
        *rest,
    ]
    assert breaches(swapped, [], in_order(b, a, *rest)) == {Breach.REORDERED}


def test_an_update_booked_beneath_what_was_read_before_is_found() -> None:
    late = [*UPDATES[:2], replace(UPDATES[2], sent=7.5, last_sent=7.5, answered=8.0), UPDATES[3]]
    assert breaches(late, READS) == {Breach.REORDERED}


def test_a_zombies_answer_is_found() -> None:
    served = [*READS[:2], reads(3, 3.1, 3.2, epoch=2)]
    assert breaches(UPDATES[:2], [*served, reads(3, 3.3, 3.4, epoch=1)], in_order(*UPDATES[:2])) == {Breach.ZOMBIE}


def test_a_zombies_acknowledgement_is_found() -> None:
    moved = [replace(UPDATES[1], owners=(Owner(SHARD, 2),)), *UPDATES[:1], *UPDATES[2:]]
    assert breaches(moved, []) == {Breach.ZOMBIE}


def test_owners_that_change_while_calls_are_under_way_are_good() -> None:
    served = [reads(2, 1.2, 2.0, epoch=2), reads(2, 1.3, 2.1, epoch=1)]
    assert breaches(UPDATES[:1], served, in_order(UPDATES[0])) == set()


def test_shards_have_epochs_of_their_own() -> None:
    elsewhere = replace(reads(2, 1.5, 1.6), owners=(Owner(ShardId(1), 9),))
    assert breaches(UPDATES, [elsewhere, *READS]) == set()


def test_a_row_of_a_deposed_owner_is_found() -> None:
    rows = numbered(pending(UPDATES))
    rows[3] = replace(rows[3], epoch=2)
    assert breaches(UPDATES, READS, journal(chained(rows))) == {Breach.ZOMBIE}


def test_an_invented_version_is_found() -> None:
    assert breaches(UPDATES, [replace(reads(5, 6, 7), content=None)]) == {Breach.INVENTED}


def test_a_read_of_a_portfolio_that_does_not_exist_is_found() -> None:
    nowhere = replace(reads(1, 6, 7), portfolio_id="NOWHERE")
    assert breaches(UPDATES, [nowhere]) == {Breach.INVENTED}


@pytest.mark.parametrize(
    "content",
    [
        content_of(Decimal("-30.01"), [("X", Decimal(3))]),
        content_of(Decimal(-30), [("X", Decimal(2))]),
        content_of(Decimal(-30), [("X", Decimal(3)), ("Y", Decimal(1))]),
        content_of(Decimal(-30), []),
    ],
)
def test_a_wrong_content_is_found(content: Content) -> None:
    assert breaches(UPDATES, [replace(READS[3], content=content)]) == {Breach.CONTENT}


def test_a_wrong_content_of_an_acknowledgement_is_found() -> None:
    wrong = [replace(UPDATES[0], content=holding(7)), *UPDATES[1:]]
    assert breaches(wrong, READS) == {Breach.CONTENT}


def test_zeros_do_not_matter_to_a_content() -> None:
    spelled = content_of(Decimal("-30.00"), [("Y", Decimal(0)), ("X", Decimal("3.0000"))])
    assert breaches(UPDATES, [replace(READS[3], content=spelled)]) == set()


def test_an_update_booked_on_another_version_than_asked_for_is_found() -> None:
    conditional = [replace(UPDATES[0], expected_version=1), replace(UPDATES[1], expected_version=1), *UPDATES[2:]]
    assert breaches(conditional, READS) == {Breach.CONDITION}


def test_a_finding_names_the_calls_concerned() -> None:
    stale = reads(3, 5.1, 5.2)
    (finding,) = check(UPDATES, {SHARD: in_order(*UPDATES)}, [*READS, stale])
    assert finding.calls == (stale, UPDATES[2])


def test_the_sweep_counts_only_what_was_known_strictly_before() -> None:
    known = [Known(1.0, 5, "five"), Known(2.0, 9, "nine"), Known(3.0, 7, "seven")]
    told = [Told(1.0, 1, "at once"), Told(1.5, 4, "older"), Told(1.5, 5, "as old"), Told(9.0, 8, "late")]
    assert list(told_less(known, told)) == [("older", "five"), ("late", "nine")]
