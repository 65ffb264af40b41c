"""The book of what was given out: chains in order, shares of an end, and any history against a plain model."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from attacker.attacks.base import CapturedFrame
from attacker.outstanding import Outstanding
from attacker.queue import Entry, Work


def work(session: str = "s", *, finish: bool = False) -> Work:
    windows = () if finish else ((Entry(CapturedFrame(session, 0, 1, ()), 0),),)
    return Work("toy", session, windows)


def test_in_order_each_work_names_the_one_before_until_the_session_ends() -> None:
    book = Outstanding()
    first, second = (book.give(work(), "k", in_order=True) for _ in range(2))
    other = book.give(work("t"), "l", in_order=True)
    loose = book.give(work(), "m", in_order=False)
    third = book.give(work(), "k", in_order=True)
    assert (first.after, second.after, third.after) == (None, first.number, second.number)
    assert (other.after, loose.after) == (None, None)
    book.ended("toy", "s")
    assert book.give(work(), "k", in_order=True).after is None


def test_the_end_is_shared_among_those_who_helped_and_a_dead_one_owes_nothing() -> None:
    book = Outstanding()
    for worker in ("a", "b", "b", "c"):
        book.answered(book.give(work(), "k", in_order=False).number, worker)
    book.gone("c")
    helped = book.ended("toy", "s")
    assert helped == {"a", "b"}
    end = work(finish=True)
    one, two = book.share(end, {worker: f"own-{worker}" for worker in sorted(helped)})
    assert (one.stream, two.worker, one.whole) == ("own-a", "b", two.whole)
    assert book.sharers() == {"a", "b"}
    assert book.answered(one.number, "a") is one
    assert book.gone("b") == [two]
    assert len(book) == 0


class AnyHistory(RuleBasedStateMachine):
    """Works are put in, lost, answered by whoever, in any order: each is answered once, and waits when it is not in."""

    given = Bundle("given")

    def __init__(self) -> None:
        super().__init__()
        self.book = Outstanding()
        self.inside: dict[int, str] = {}  # number -> stream, of what has an entry
        self.open: dict[int, str] = {}
        self.twice = 0

    @rule(target=given, stream=st.sampled_from("kl"))
    def give(self, stream: str) -> int:
        number = self.book.give(work(), stream, in_order=False).number
        assert number not in self.open
        self.open[number] = stream
        return number

    @rule(number=given)
    def put(self, number: int) -> None:
        self.book.put(number, "1-1")
        if number in self.open:
            self.inside[number] = self.open[number]

    @rule(stream=st.sampled_from(["k", "l", None]))
    def lose(self, stream: str | None) -> None:
        lost = [n for n, s in self.inside.items() if stream in (None, s)]
        assert self.book.lose(stream) == len(lost)
        for number in lost:
            del self.inside[number]

    @rule(number=given)
    def answer(self, number: int) -> None:
        found = self.book.answered(number, "w")
        assert (found is not None) == (number in self.open)
        self.twice += number not in self.open
        self.open.pop(number, None)
        self.inside.pop(number, None)

    @rule(number=consumes(given))
    def answer_unheard_of(self, number: int) -> None:
        assert self.book.answered(-number, "w") is None
        self.twice += 1

    @invariant()
    def what_waits_is_what_is_not_inside(self) -> None:
        assert [g.number for g in self.book.waiting()] == sorted(set(self.open) - set(self.inside))
        counts: dict[str, int] = {}
        for stream in self.inside.values():
            counts[stream] = counts.get(stream, 0) + 1
        assert self.book.inside() == counts
        assert (len(self.book), self.book.duplicates) == (len(self.open), self.twice)


TestAnyHistory = AnyHistory.TestCase
