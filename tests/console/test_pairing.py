"""The panels show one frame while the listener keeps up, and go on without it when it does not."""

from __future__ import annotations

from console.pairing import KEPT, PATIENCE_S, Pairing


def feed(pairing: Pairing, frame: int, now: float, *panels: str) -> None:
    for panel in panels:
        pairing.add(panel, frame, f"{panel}-{frame}", now)  # type: ignore[arg-type]


def test_before_the_first_reconstruction_nothing_waits() -> None:
    pairing = Pairing()
    feed(pairing, 0, 0.0, "truth", "payload")
    assert pairing.choose(0.0, True) == {"truth": "truth-0", "payload": "payload-0"}
    assert pairing.choose(0.1, True) == {}


def test_truth_and_payload_wait_for_their_own_reconstruction() -> None:
    pairing = Pairing()
    feed(pairing, 0, 0.0, "truth", "payload", "reconstruction")
    assert pairing.choose(0.0, True).keys() == {"truth", "payload", "reconstruction"}
    feed(pairing, 1, 0.5, "truth", "payload")
    feed(pairing, 2, 1.0, "truth", "payload")
    assert pairing.choose(1.0, True) == {}
    feed(pairing, 1, 1.2, "reconstruction")
    assert pairing.choose(1.2, True) == {
        "truth": "truth-1",
        "payload": "payload-1",
        "reconstruction": "reconstruction-1",
    }


def test_a_reconstruction_that_is_quicker_than_the_truth_waits_for_it() -> None:
    pairing = Pairing()
    feed(pairing, 0, 0.0, "truth", "payload", "reconstruction")
    pairing.choose(0.0, True)
    feed(pairing, 1, 0.5, "payload", "reconstruction")
    assert pairing.choose(0.5, True) == {}
    feed(pairing, 1, 0.6, "truth")
    assert set(pairing.choose(0.6, True)) == {"truth", "payload", "reconstruction"}


def test_without_a_listener_the_stream_goes_on_and_the_last_reconstruction_stays() -> None:
    pairing = Pairing()
    feed(pairing, 0, 0.0, "truth", "payload", "reconstruction")
    pairing.choose(0.0, True)
    feed(pairing, 1, 0.5, "truth", "payload")
    assert pairing.choose(0.5, False) == {"truth": "truth-1", "payload": "payload-1"}
    feed(pairing, 2, 1.0, "truth", "payload")
    assert pairing.choose(1.0, True) == {}  # back, and its last work is not old yet
    assert pairing.choose(PATIENCE_S + 0.1, True) == {"truth": "truth-2", "payload": "payload-2"}


def test_a_truth_waits_for_its_payload_as_long_as_payloads_come() -> None:
    pairing = Pairing()
    feed(pairing, 0, 0.0, "truth")
    assert pairing.choose(0.0, True) == {"truth": "truth-0"}  # none has ever come: nothing to wait for
    feed(pairing, 0, 0.2, "payload")
    assert pairing.choose(0.2, True) == {"payload": "payload-0"}
    feed(pairing, 1, 0.5, "truth")
    assert pairing.choose(0.5, True) == {}
    feed(pairing, 1, 0.7, "payload")
    assert pairing.choose(0.7, True) == {"truth": "truth-1", "payload": "payload-1"}
    feed(pairing, 2, 1.0, "truth")
    assert pairing.choose(0.7 + PATIENCE_S, True) == {"truth": "truth-2"}


def test_on_a_slow_line_the_patience_is_longer() -> None:
    pairing = Pairing()
    for frame, now in ((0, 0.0), (1, 3.0)):
        feed(pairing, frame, now, "truth", "payload")
        pairing.choose(now, True)
    feed(pairing, 2, 3.5, "truth")
    assert pairing.choose(3.0 + PATIENCE_S + 0.5, True) == {}  # the last two were 3 s apart
    assert pairing.choose(3.0 + 6.1, True) == {"truth": "truth-2"}


def test_another_attack_begins_with_its_own_first_reconstruction() -> None:
    pairing = Pairing()
    feed(pairing, 5, 0.0, "truth", "payload", "reconstruction")
    pairing.choose(0.0, True)
    pairing.forget("reconstruction")
    pairing.add("reconstruction", 5, "by another", 0.1)
    assert pairing.choose(0.1, True) == {"reconstruction": "by another"}


def test_what_is_kept_is_bounded() -> None:
    pairing = Pairing()
    for frame in range(10 * KEPT):
        feed(pairing, frame, float(frame), "truth", "payload", "reconstruction")
    assert all(len(kept) == KEPT for kept in pairing._kept.values())
