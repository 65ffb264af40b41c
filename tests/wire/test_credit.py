import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.credit import Inflow, Outflow
from wire.errors import DecodeError


@given(st.lists(st.integers(0, 10_000), max_size=30), st.randoms())
def test_grants_may_be_repeated_and_overtaken(grants, random):
    shuffled = grants + grants
    random.shuffle(shuffled)
    flow = Outflow()
    for grant in shuffled:
        flow.raise_to(grant)
    assert flow.room == max(grants, default=0)


def test_nothing_is_sent_beyond_the_grant():
    flow = Outflow(100)
    flow.take(60)
    with pytest.raises(ValueError, match="41 bytes exceed the credit of 40"):
        flow.take(41)
    flow.take(40)
    assert flow.room == 0


def test_the_receiver_notices_a_sender_that_ignores_its_credit():
    flow = Inflow(100)
    flow.announce()
    flow.arrived(100)
    with pytest.raises(DecodeError, match="101 payload bytes came, credit was given for 100"):
        flow.arrived(1)


@given(
    st.integers(2, 8),
    st.lists(st.integers(1, 60), min_size=1, max_size=30),
    st.lists(st.sampled_from(["send", "take", "announce"]), max_size=200),
)
def test_credit_is_never_exceeded_memory_is_bounded_and_all_gets_through(pieces_in_window, transfers, schedule):
    """A sender of pieces of 4 bytes against a receiver whose consumer is slow; then the consumer catches up."""
    piece, window = 4, 4 * pieces_in_window
    sender, receiver = Outflow(), Inflow(window)
    pieces = [(min(piece, size - at), at + piece >= size, size) for size in transfers for at in range(0, size, piece)]
    waiting: list[int] = []
    held = peak = 0

    def send() -> bool:
        nonlocal held, peak
        if not pieces or pieces[0][0] > sender.room:
            return False
        nbytes, last, size = pieces.pop(0)
        sender.take(nbytes)
        receiver.arrived(nbytes)  # raises if credit was exceeded
        held += nbytes
        peak = max(peak, held)
        if last:
            receiver.completed(size)
            waiting.append(size)
        return True

    def take() -> bool:
        nonlocal held
        if not waiting:
            return False
        size = waiting.pop(0)
        held -= size
        receiver.taken(size)
        return True

    def announce(always: bool = True) -> bool:
        if not always and not receiver.due:
            return False
        sender.raise_to(receiver.announce())
        return True

    for step in schedule:
        {"send": send, "take": take, "announce": announce}[step]()
    assert peak <= 2 * window + max(transfers)
    while send() or announce(always=False) or take():
        pass
    assert not pieces
    assert not waiting
    assert held == 0


def test_a_hungry_consumer_lifts_the_limit():
    flow = Inflow(10)
    flow.announce()
    flow.arrived(10)
    flow.completed(10)
    flow.announce()
    flow.arrived(10)
    flow.completed(10)
    assert not flow.due  # two windows wait for a consumer
    flow.hunger(+1)
    assert flow.due
    assert flow.announce() == 30


def test_a_new_connection_counts_anew_but_forgets_no_consumer():
    flow = Inflow(10)
    flow.announce()
    flow.arrived(10)
    flow.completed(10)
    flow.hunger(+1)
    flow.reset()
    assert (flow.announce(), flow.waiting) == (10, 10)
    flow.arrived(10)
    assert flow.announce() == 20  # still hungry
    flow.hunger(-1)
    flow.arrived(10)
    flow.completed(10)
    assert not flow.due
