"""Both machines, joined by hand: no socket, no thread, and a clock that the test turns."""

import itertools
from collections import deque

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wire.cloud_session import CloudSession
from wire.edge_session import Broken, EdgeSession, Failed, Refused, Replied
from wire.envelope import decode, encode
from wire.errors import InputError, SessionRefused
from wire.handshake import Offer, Opened, read_open
from wire.payload import Payload
from wire.pb import frame_pb2 as pb
from wire.peer import Closed, Pulse
from wire.stream import Arrived, Fault
from wire.transfer import pack

PIECE = 4096
WINDOW = 4 * PIECE
OFFER = Offer("v", "s", b"w" * 32, b"c" * 32, ("dense",), piece_bytes=PIECE)
_instances = itertools.count(1)


def payload(number, nbytes=100):
    return Payload("features", "dense", {"a": torch.full((nbytes,), number % 256, dtype=torch.uint8)}, {"n": number})


def sent(number, nbytes=100, crc=False):
    return pack(payload(number, nbytes), PIECE, exchange=number, crc=crc)


class Cloud:
    """A cloud process: sessions in memory, which are gone when it dies."""

    def __init__(self, max_bytes=1 << 20):
        self.machine = None
        self.max_bytes = max_bytes
        self.computed = []

    def attach(self, message, now=0):
        head, _ = decode(message)
        opening = read_open(head.open)
        if self.machine is None:
            instance = next(_instances).to_bytes(16, "big")
            self.machine = CloudSession(opening, instance, max_transfer_bytes=self.max_bytes, window_bytes=WINDOW)
            self.machine.ready()
        self.machine.attach(opening, head.ack, now)
        return opening.epoch

    def work(self, now=0):
        if not self.machine.may_work:
            return False
        job = self.machine.take()
        if job.assembly is None:
            self.machine.fail(job, *job.refused, now)
            return True
        received = job.assembly.payload()
        number = received.meta["n"]
        self.computed.append(number)
        if number % 10 == 7:
            self.machine.fail(job, "COMPUTE", f"the tail dislikes {number}", now)
        else:
            reply = Payload("result", "dense", {"a": received.tensors["a"] + 1}, {"n": number})
            self.machine.answer(job, pack(reply, PIECE, exchange=number), pb.Timing(), now)
        return True


class Cable:
    """One connection, with messages on their way in both directions."""

    def __init__(self, edge, cloud, now=0):
        self.edge, self.cloud = edge, cloud
        edge.connect(now)
        self.up, self.down = deque(), deque()
        self.epoch = cloud.attach(b"".join(edge.next_message(now)))

    def edge_speaks(self, now=0):
        buffers = self.edge.next_message(now)
        if buffers is not None:
            self.up.append(b"".join(buffers))
        return buffers is not None

    def cloud_speaks(self, now=0):
        buffers = self.cloud.machine.next_message(self.epoch, now)
        if buffers is not None:
            self.down.append(b"".join(buffers))
        return buffers is not None

    def cloud_hears(self, now=0):
        return bool(self.up) and (self.cloud.machine.receive(self.epoch, self.up.popleft(), now), True)[1]

    def edge_hears(self, now=0):
        return self.edge.receive(self.down.popleft(), now) if self.down else None

    def settle(self, now=0):
        """Until nobody has anything to say; returns what the edge was told."""
        events = []
        while True:
            moved = self.edge_speaks(now) | self.cloud_hears(now) | self.cloud.work(now) | self.cloud_speaks(now)
            heard = self.edge_hears(now)
            events.extend(heard or [])
            for event in heard or []:
                if isinstance(event, Replied):
                    self.edge.inflow.taken(event.arrived.nbytes)
            if not moved and heard is None:
                return events


@pytest.fixture
def edge():
    return EdgeSession(OFFER, window_bytes=WINDOW)


def told(events):
    """(transfer, n of the reply) or (transfer, code) of each answer, in the order in which they came."""
    found = []
    for event in events:
        if isinstance(event, Replied):
            assert set(event.payload.tensors["a"].tolist()) <= {(event.payload.meta["n"] + 1) % 256}
            found.append((event.number, event.payload.meta["n"]))
        elif isinstance(event, Failed):
            found.append((event.number, event.code))
    return found


def test_an_exchange_from_open_to_close(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    opened = cable.settle()[0]
    assert isinstance(opened, Opened)
    assert (opened.fresh, opened.next_transfer, opened.max_transfer_bytes) == (True, 0, 1 << 20)
    for number in range(3):
        edge.submit(sent(number, 3 * PIECE + 5), 0)
    assert told(cable.settle()) == [(0, 0), (1, 1), (2, 2)]
    assert cloud.machine.quiet  # every reply was acknowledged and forgotten
    edge.close("done")
    closed = cable.settle()
    assert closed == [Closed("goodbye", 3, edge.payload_out)]
    assert cloud.machine.over(cable.epoch)


def test_no_payload_before_opened(edge):
    edge.submit(sent(0), 0)
    edge.connect(0)
    assert decode(b"".join(edge.next_message(0)))[0].HasField("open")
    assert edge.next_message(0) is None


def test_data_waits_for_the_first_measurement_of_the_clock_but_not_for_ever(edge):
    cable = Cable(edge, Cloud())
    edge.submit(sent(0), 0)
    cable.cloud_speaks()
    cable.edge_hears(0)
    said = []
    while cable.edge_speaks(0):
        said.append(decode(cable.up.popleft())[0].WhichOneof("body"))
    assert said == ["probe"] * 4  # and no answer comes
    assert cable.edge_speaks(2_000_000_000)
    assert decode(cable.up.popleft())[0].WhichOneof("body") == "header"


def test_the_clock_is_measured_against_a_shifted_cloud(edge):
    """The cloud's clock is 5000 ns ahead, each way takes 40 ns."""
    cable, now = Cable(edge, Cloud()), 0
    cable.cloud_speaks(5000)
    for _ in range(200):
        now += 40
        cable.edge_hears(now)
        cable.edge_speaks(now)
        now += 40
        cable.cloud_hears(now + 5000)
        cable.cloud_speaks(now + 5000)
    found = edge.clock(now)
    assert found.offset_ns == 5000
    assert 40 <= found.bound_ns <= 41


def test_a_frame_error_leaves_the_stream_usable(edge):
    cable = Cable(edge, Cloud())
    cable.settle()
    for number in (6, 7, 8):
        edge.submit(sent(number), 0)
    assert told(cable.settle()) == [(0, 6), (1, "COMPUTE"), (2, 8)]


def test_a_lying_header_fails_that_transfer_alone(edge):
    cable = Cable(edge, Cloud())
    cable.settle()
    liar = sent(1, 3 * PIECE)
    liar.header.tensors[0].shape[:] = [5]
    for outgoing in (sent(0), liar, sent(2)):
        edge.submit(outgoing, 0)
    assert told(cable.settle()) == [(0, 0), (1, "BAD_HEADER"), (2, 2)]


def test_a_transfer_above_the_agreed_size_fails_alone(edge):
    cable = Cable(edge, Cloud(max_bytes=2 * PIECE))
    cable.settle()
    for number, nbytes in enumerate((10, 2 * PIECE + 1, 2 * PIECE)):
        edge.submit(sent(number, nbytes), 0)
    assert told(cable.settle()) == [(0, 0), (1, "TOO_LARGE"), (2, 2)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"protocol": 2}, "PROTOCOL"),
        ({"session_id": b"short"}, "PROTOCOL"),
        ({"piece_bytes": 16 << 20}, "TOO_LARGE"),
        ({"piece_bytes": 0}, "TOO_LARGE"),
        ({"max_transfer_bytes": 0}, "TOO_LARGE"),
        ({"layouts": ["x"] * 2000}, "PROTOCOL"),
    ],
)
def test_openings_of_the_wrong_form_are_refused_by_name(changes, code):
    message = OFFER.message(1, 0, 0)
    message.MergeFrom(pb.Open(**changes))
    for name in ("protocol", "piece_bytes", "max_transfer_bytes"):
        if name in changes:
            setattr(message, name, changes[name])
    with pytest.raises(SessionRefused) as caught:
        read_open(message)
    assert caught.value.code == code


def test_an_epoch_must_be_the_newest(edge):
    cloud = Cloud()
    Cable(edge, cloud)
    edge.epoch -= 1
    with pytest.raises(SessionRefused) as caught:
        Cable(edge, cloud)
    assert caught.value.code == "STALE_EPOCH"


def test_an_old_connection_cannot_commit_what_it_had_half_received(edge):
    cloud = Cloud()
    old = Cable(edge, cloud)
    old.settle()
    edge.submit(sent(0, 2 * PIECE), 0)
    assert old.edge_speaks()
    assert old.edge_speaks()
    assert old.cloud_hears()  # the first of two pieces
    late = old.up[0]
    edge.disconnect(0)
    new = Cable(edge, cloud)
    with pytest.raises(Fault, match="STALE_EPOCH: epoch 1 was replaced by 2"):
        cloud.machine.receive(old.epoch, late, 0)
    with pytest.raises(Fault, match="STALE_EPOCH"):
        cloud.machine.next_message(old.epoch, 0)
    assert told(new.settle()) == [(0, 0)]
    assert cloud.computed == [0]


def test_an_edge_that_sends_everything_again_is_answered_once(edge):
    """It ignores where the cloud says to go on, so that the cloud has to drop what it has seen."""
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    for number in range(3):
        edge.submit(sent(number, 2 * PIECE), 0)
    while cable.edge_speaks() | cable.cloud_hears():
        pass
    assert cloud.work()
    edge.disconnect(0)
    cable = Cable(edge, cloud)
    cable.cloud_speaks()
    cable.edge_hears()
    edge.outbox.rewind(0)
    events = cable.settle()
    assert told(events) == [(0, 0), (1, 1), (2, 2)]
    assert cloud.computed == [0, 1, 2]
    assert cloud.machine.repeated >= 2


def test_a_reply_that_was_lost_on_the_way_comes_again_marked(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge.submit(sent(5), 0)
    cable.edge_speaks()
    cable.cloud_hears()
    cloud.work()
    assert cable.cloud_speaks()  # and the connection breaks
    edge.disconnect(0)
    events = Cable(edge, cloud).settle()
    assert told(events) == [(0, 5)]
    assert [e.arrived.head.header.duplicate for e in events if isinstance(e, Replied)] == [True]
    assert edge.outbox.resent == 0  # the cloud had it


def test_an_error_that_was_lost_on_the_way_comes_again(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge.submit(sent(7), 0)
    cable.edge_speaks()
    cable.cloud_hears()
    cloud.work()
    cable.cloud_speaks()
    edge.disconnect(0)
    assert told(Cable(edge, cloud).settle()) == [(0, "COMPUTE")]


def test_a_fresh_cloud_begins_at_the_oldest_unanswered_transfer(edge):
    first = Cloud()
    cable = Cable(edge, first)
    cable.settle()
    edge.submit(sent(0), 0)
    cable.settle()
    for number in (1, 2):
        edge.submit(sent(number), 0)
    while cable.edge_speaks() | cable.cloud_hears():
        pass
    edge.disconnect(0)
    second = Cloud()
    events = Cable(edge, second).settle()
    assert (events[0].fresh, events[0].next_transfer) == (True, 1)
    assert told(events) == [(1, 1), (2, 2)]


def test_without_resend_what_had_begun_is_lost_and_the_rest_goes_on():
    edge, cloud = EdgeSession(OFFER, window_bytes=WINDOW, resend=False), Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    for number in range(3):
        edge.submit(sent(number, 3 * PIECE), 0)
    cable.edge_speaks()
    assert told(edge.disconnect(0)) == [(0, "LOST")]
    assert told(Cable(edge, cloud).settle()) == [(1, 1), (2, 2)]
    assert cloud.computed == [1, 2]


def test_without_resend_a_reply_to_what_was_given_up_is_dropped():
    edge, cloud = EdgeSession(OFFER, window_bytes=WINDOW, resend=False), Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge.submit(sent(0), 0)
    cable.edge_speaks()
    cable.cloud_hears()
    cloud.work()
    edge.disconnect(0)
    edge.submit(sent(1), 0)
    assert told(Cable(edge, cloud).settle()) == [(1, 1)]
    assert edge.late == 1


def _fatal(cable):
    assert cable.cloud_speaks()
    error = decode(cable.down[-1])[0].error
    assert error.fatal
    return pb.Code.Name(error.code), cable.edge_hears()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\xff\xff", "PROTOCOL"),
        (encode(pb.Envelope(transfer_id=5, header=pb.Header())), "PROTOCOL"),
        (encode(pb.Envelope(transfer_id=0, piece=1), b"x"), "BAD_PIECE"),
        (encode(pb.Envelope(transfer_id=0, piece=1, header=pb.Header())), "BAD_PIECE"),
        (encode(pb.Envelope(), b"data without a header"), "BAD_PIECE"),
        (encode(pb.Envelope(opened=pb.Opened())), "PROTOCOL"),
        (encode(pb.Envelope(error=pb.Error())), "PROTOCOL"),
        (encode(pb.Envelope(), bytes(PIECE + (64 << 10))), "BAD_PIECE"),
    ],
    ids=["garbage", "gap", "piece of nothing", "header in piece 1", "bare data", "Opened", "Error", "too long"],
)
def test_what_breaks_the_order_ends_the_connection_by_name(edge, message, code):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    cloud.machine.receive(cable.epoch, message, 0)
    found, events = _fatal(cable)
    assert found == code
    assert [(type(e), e.code) for e in events] == [(Broken, code)]
    assert cloud.machine.over(cable.epoch)
    edge.disconnect(0)
    edge.submit(sent(1), 0)
    assert told(Cable(edge, cloud).settle()) == [(0, 1)]


def test_credit_is_enforced_by_the_cloud(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge._outflow.raise_to(1 << 30)  # an edge that grants itself credit
    for number in range(9):
        edge.submit(sent(number, PIECE), 0)
    while cable.edge_speaks():
        pass
    while cable.cloud_hears():
        pass
    assert _fatal(cable)[0] == "PROTOCOL"


def test_a_refusal_reaches_the_edge(edge):
    cloud = Cloud()
    edge.connect(0)
    message = b"".join(edge.next_message(0))
    opening = read_open(decode(message)[0].open)
    cloud.machine = CloudSession(opening, bytes(16), max_transfer_bytes=1000, window_bytes=WINDOW)
    cloud.machine.attach(opening, 0, 0)
    assert cloud.machine.next_message(1, 0) is None  # the tail is being loaded
    cloud.machine.refuse("DIGEST_MISMATCH", "weights differ")
    answer = b"".join(cloud.machine.next_message(1, 0))
    assert edge.receive(answer, 0) == [Refused("DIGEST_MISMATCH", "weights differ")]
    assert cloud.machine.over(1)


@pytest.mark.parametrize("code", ["BUSY", "GOING_DOWN"])
def test_an_edge_tries_again_later_when_told_so(edge, code):
    edge.connect(0)
    edge.next_message(0)
    error = pb.Error(code=pb.Code.Value(code), fatal=True, message="m", retry_after_ms=300)
    assert edge.receive(encode(pb.Envelope(error=error)), 0) == [Broken(code, "m", 300)]


def test_silence_breaks_the_connection_and_idleness_is_broken_by_probes(edge):
    second = 1_000_000_000
    cable = Cable(edge, Cloud())
    cable.settle()
    assert edge.tick(4 * second) == []
    assert not cable.edge_speaks(4 * second)
    assert edge.next_tick(4 * second) == 5 * second
    assert edge.tick(5 * second) == []
    assert cable.edge_speaks(5 * second)
    assert decode(cable.up[-1])[0].HasField("probe")
    assert [type(e) for e in edge.tick(15 * second)] == [Broken]


def test_a_cloud_beats_and_notices_silence(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    assert cloud.machine.tick(cable.epoch, 5_000_000_000)
    assert cable.cloud_speaks(5_000_000_000)
    assert cable.edge_hears(1) == []
    assert not cloud.machine.tick(cable.epoch, 15_000_000_000)


def test_draining_takes_nothing_new(edge):
    cloud = Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge.submit(sent(0), 0)
    cable.edge_speaks()
    cable.cloud_hears()
    cloud.machine.draining = True
    edge.submit(sent(1), 0)
    assert told(cable.settle()) == [(0, 0)]
    assert cloud.machine.quiet
    edge.disconnect(0)
    assert told(Cable(edge, Cloud()).settle()) == [(1, 1)]


def test_opened_must_answer_this_session(edge):
    edge.connect(0)
    edge.next_message(0)
    opened = pb.Opened(session_id=bytes(16), instance_id=b"i", piece_bytes=PIECE)
    assert [e.code for e in edge.receive(encode(pb.Envelope(opened=opened)), 0)] == ["PROTOCOL"]


def test_a_fresh_cloud_cannot_skip_what_was_not_answered(edge):
    edge.submit(sent(0), 0)
    edge.connect(0)
    edge.next_message(0)
    opened = pb.Opened(session_id=OFFER.session_id, instance_id=b"i", piece_bytes=PIECE, next_transfer=1)
    assert [e.code for e in edge.receive(encode(pb.Envelope(opened=opened)), 0)] == ["PROTOCOL"]


def test_a_window_holds_two_pieces():
    with pytest.raises(InputError, match="at least two pieces of 4096"):
        EdgeSession(OFFER, window_bytes=PIECE)


@given(st.binary(max_size=60), st.booleans())
def test_arbitrary_bytes_never_raise(message, opened):
    edge, cloud = EdgeSession(OFFER, window_bytes=WINDOW), Cloud()
    cable = Cable(edge, cloud)
    if opened:
        cable.settle()
    cloud.machine.receive(cable.epoch, message, 0)
    assert all(isinstance(e, (Broken, Refused, Closed)) for e in edge.receive(message, 0))


envelopes = st.builds(
    lambda piece, number, body, data: encode(pb.Envelope(piece=piece, transfer_id=number, **body), data),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(
        [
            {},
            {"header": pack(payload(1), PIECE).header},
            {"header": pack(payload(1, 2 * PIECE), PIECE).header},
            {"header": pb.Header(total_bytes=2**60)},
            {"error": pb.Error(transfer_id=1)},
            {"close": pb.Close()},
            {"probe": pb.Probe(id=1, reply=True)},
        ]
    ),
    st.sampled_from([b"", bytes(100), bytes(PIECE)]),
)


@given(st.lists(envelopes, max_size=6))
def test_well_formed_nonsense_never_raises(messages):
    edge, cloud = EdgeSession(OFFER, window_bytes=WINDOW), Cloud()
    cable = Cable(edge, cloud)
    cable.settle()
    edge.submit(sent(0), 0)
    for message in messages:
        cloud.machine.receive(cable.epoch, message, 0)
        for event in edge.receive(message, 0):
            assert isinstance(event, (Broken, Refused, Closed, Replied, Failed))
    assert all(isinstance(job, Arrived) for job in cloud.machine._jobs)


STEPS = ["edge speaks", "cloud hears", "work", "cloud speaks", "edge hears", "submit", "break", "kill"]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([0, 1, 100, PIECE, PIECE + 1, 3 * PIECE, 9 * PIECE]), min_size=1, max_size=8),
    st.lists(st.sampled_from([*STEPS[:6] * 4, *STEPS]), max_size=150),
)
def test_every_transfer_is_answered_once_and_in_order_whatever_breaks(sizes, schedule):
    """Messages are lost with their connection, clouds die with all they know, in any order of events."""
    edge, cloud = EdgeSession(OFFER, window_bytes=WINDOW), Cloud()
    cable = Cable(edge, cloud)
    to_submit = deque(enumerate(sizes))
    answers, untaken = [], []

    def hear():
        for event in cable.edge_hears() or []:
            assert not isinstance(event, (Broken, Refused))
            answers.extend(told([event]))
            if isinstance(event, Replied):
                untaken.append(event.arrived.nbytes)

    for step in schedule:
        if step == "edge speaks":
            cable.edge_speaks()
        elif step == "cloud hears":
            cable.cloud_hears()
        elif step == "work":
            cloud.work()
        elif step == "cloud speaks":
            cable.cloud_speaks()
        elif step == "edge hears":
            hear()
        elif step == "submit" and to_submit and edge.has_room:
            edge.submit(sent(*to_submit.popleft()), 0)
        elif step in ("break", "kill"):
            edge.disconnect(0)
            if step == "kill":
                cloud = Cloud()
            cable = Cable(edge, cloud)
    for nbytes in untaken:
        edge.inflow.taken(nbytes)
    answers += told(cable.settle())
    while to_submit:
        edge.submit(sent(*to_submit.popleft()), 0)
        answers += told(cable.settle())
    assert answers == [(number, "COMPUTE" if number % 10 == 7 else number) for number in range(len(sizes))]
    assert cloud.machine.quiet
    assert edge.inflow.waiting == 0


def test_a_slow_beat_is_a_setting():
    edge = EdgeSession(OFFER, window_bytes=WINDOW, pulse=Pulse(10, 30))
    cable = Cable(edge, Cloud())
    cable.settle()
    assert edge.tick(29) == []
    assert len(edge.tick(30)) == 1
