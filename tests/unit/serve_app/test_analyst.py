"""The analyst's bookkeeping: what is computed once, what is refused, and what is read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from ray import ObjectRef

from actors.gateway import Gateway
from actors.protocol import Answer
from analytics.document import AnalysisTerms
from analytics.optimise.request import OptimiseRequest
from analytics.tasks import Workers
from persistence.analytics_cache import Figures, RedisAnalyticsCache
from persistence.analytics_source import PostgresSource
from portfolio.errors import AnalyticsUnavailable, Overloaded
from portfolio.ids import PortfolioId
from serve_app import analyst as analyst_module
from serve_app.analyst import Analyst
from serve_app.analytics_jobs import Computed

P = PortfolioId("P")
USUAL = AnalysisTerms(benchmark="SP500")


class Shards:
    """One portfolio, at the version and revaluation given."""

    def __init__(self) -> None:
        self.etag = '"3.70"'

    async def state(self, portfolio_id: PortfolioId) -> Answer:
        return Answer(b"{}", self.etag, owner="0/1")

    async def packed_book(self, portfolio_id: PortfolioId) -> bytes:
        return self.etag.encode()


class Prices:
    """Prices of one generation."""

    def __init__(self) -> None:
        self.now = 1

    async def generation(self) -> int:
        return self.now


class Crew:
    """Workers that answer when they are let; what they were asked, and how often prices were read."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.asked: list[tuple[Any, ...]] = []
        self.panels = 0
        self.failure: Exception | None = None

    def submit(self, job: Callable[..., Any], *arguments: Any) -> ObjectRef[Any]:
        self.panels += 1
        return cast("ObjectRef[Any]", f"panel {self.panels}")

    async def run(self, job: Callable[..., Any], *arguments: Any, timeout_s: float) -> Computed:
        self.asked.append(arguments)
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        version, _, revaluation = arguments[1].decode().strip('"').partition(".")
        return Computed(int(version), int(revaluation), f"figures {len(self.asked)}".encode())


class Shelf:
    """A cache in memory."""

    def __init__(self) -> None:
        self.kept: dict[Figures, bytes] = {}

    async def find(self, wanted: Figures) -> bytes | None:
        return self.kept.get(wanted)

    async def keep(self, figures: Figures, document: bytes) -> None:
        self.kept[figures] = document


class Office:
    """An analyst, and all that it deals with."""

    def __init__(self) -> None:
        self.shards, self.prices, self.crew, self.shelf = Shards(), Prices(), Crew(), Shelf()
        self.analyst = Analyst(
            cast(Gateway, self.shards), self.prices, PostgresSource("dsn"), cast(Workers, self.crew), USUAL
        )
        self.analyst.cache = cast(RedisAnalyticsCache, self.shelf)
        self.crew.let.set()

    async def answer(self, terms: AnalysisTerms = USUAL, known: tuple[str, ...] = ()) -> Answer:
        found = await self.analyst.analytics(P, terms, known)
        # What goes to the cache goes behind the answer.
        await asyncio.sleep(0)
        return found


@pytest.fixture
async def office() -> Office:
    return Office()


async def test_an_answer_bears_a_tag_and_its_owner_and_is_found_again(office: Office) -> None:
    first = await office.answer()
    assert (first.body, first.owner) == (b"figures 1", "0/1")
    assert (first.etag or "").startswith('"3.70.1.')
    assert await office.answer() == first
    assert len(office.crew.asked) == 1


async def test_who_has_it_already_is_sent_nothing_and_nothing_is_computed(office: Office) -> None:
    first = await office.answer()
    office.shelf.kept.clear()
    assert await office.answer(known=("x", first.etag or "")) == Answer(None, first.etag, owner="0/1")
    assert (await office.answer(known=("*",))).body is None
    assert len(office.crew.asked) == 1


async def test_another_version_revaluation_generation_or_other_terms_are_computed_anew(office: Office) -> None:
    tags = [(await office.answer()).etag]
    office.shards.etag = '"4.70"'
    tags.append((await office.answer()).etag)
    office.shards.etag = '"4.71"'
    tags.append((await office.answer()).etag)
    office.prices.now = 2
    tags.append((await office.answer()).etag)
    tags.append((await office.answer(AnalysisTerms(benchmark="SP500", window=20))).etag)
    tags.append((await office.answer(AnalysisTerms())).etag)
    assert len(set(tags)) == len(office.crew.asked) == 6


async def test_what_has_changed_meanwhile_is_answered_and_kept_as_what_it_is(office: Office) -> None:
    office.crew.let.clear()
    asked = asyncio.create_task(office.answer())
    await asyncio.sleep(0)
    office.shards.etag = '"5.0"'
    office.crew.let.set()
    assert ((await asked).etag or "").startswith('"5.0.1.')
    assert [(kept.version, kept.revaluation) for kept in office.shelf.kept] == [(5, 0)]


async def test_those_who_ask_for_the_same_at_once_wait_for_one_computation(office: Office) -> None:
    office.crew.let.clear()
    asked = [asyncio.create_task(office.answer()) for _ in range(10)]
    await asyncio.sleep(0.01)
    asked[0].cancel()
    office.crew.let.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.body for answer in answers[1:] if isinstance(answer, Answer)} == {b"figures 1"}


async def test_more_computations_than_the_bound_are_refused_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyst_module, "UNDER_WAY_MAX", 2)
    office.crew.let.clear()
    asked = [asyncio.create_task(office.answer(AnalysisTerms(window=20 + extra))) for extra in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await office.answer(AnalysisTerms(window=30))
    # Who went away has left a computation behind, which goes on and counts.
    asked[0].cancel()
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await office.answer(AnalysisTerms(window=30))
    office.crew.let.set()
    await asked[1]
    assert (await office.answer(AnalysisTerms(window=30))).body is not None


async def test_who_has_waited_long_enough_is_told_and_the_computation_goes_on_for_the_next(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.crew.let.clear()
    with monkeypatch.context() as brief:
        brief.setattr(analyst_module, "ANSWER_S", 0.05)
        with pytest.raises(AnalyticsUnavailable, match="no result after"):
            await office.answer()
    asked = asyncio.create_task(office.answer())
    await asyncio.sleep(0)
    office.crew.let.set()
    assert (await asked).body == b"figures 1"


async def test_an_optimisation_asked_for_again_is_the_one_under_way_unless_something_has_changed(
    office: Office,
) -> None:
    def asked(**more: Any) -> asyncio.Task[Answer]:
        request = OptimiseRequest.model_validate({"objective": "minimum_variance", **more})
        return asyncio.create_task(office.analyst.optimise(P, request))

    office.crew.let.clear()
    tasks = [asked(), asked(), asked(window=100)]
    await asyncio.sleep(0.01)
    office.shards.etag = '"4.70"'
    tasks.append(asked())
    await asyncio.sleep(0.01)
    office.prices.now = 2
    tasks.append(asked())
    await asyncio.sleep(0.01)
    office.crew.let.set()
    answers = await asyncio.gather(*tasks)
    assert len(office.crew.asked) == 4
    assert answers[0] is answers[1]
    assert [answer.etag for answer in answers] == ['"3.70"', '"3.70"', '"3.70"', '"4.70"', '"4.70"']


async def test_prices_are_read_once_a_generation_and_never_an_older_one_again(office: Office) -> None:
    for generation in (1, 1, 2, 1):
        office.prices.now = generation
        await office.answer(AnalysisTerms(window=100 + len(office.crew.asked)))
    assert [arguments[0] for arguments in office.crew.asked] == ["panel 1", "panel 1", "panel 2", "panel 2"]


async def test_after_a_failure_prices_are_read_again(office: Office) -> None:
    office.crew.failure = AnalyticsUnavailable("Postgres was away")
    with pytest.raises(AnalyticsUnavailable):
        await office.answer()
    office.crew.failure = None
    assert (await office.answer()).body == b"figures 2"
    assert office.crew.panels == 2


async def test_without_a_cache_everything_is_computed(office: Office) -> None:
    office.analyst.cache = None
    assert [(await office.answer()).body for _ in range(2)] == [b"figures 1", b"figures 2"]
