"""Who is alive, by hand-made signs of life: silence, leaving, a deaf listener, a server that was emptied."""

from __future__ import annotations

from attacker.redis_roll import Roll

CLAIM_S = 5.0


def stamp(ms: int, counts: str = '{"unwanted": 0}') -> bytes:
    return f"{ms} {counts}".encode()


def looks(roll: Roll, at: list[float], said: dict[bytes, bytes], owing: frozenset[str] = frozenset()) -> set[str]:
    """Look at these times while nothing changes; who was gone at the last."""
    gone: set[str] = set()
    for now in at:
        gone = roll.call(said, round(now * 1000), now, set(owing))
    return gone


def test_a_silent_worker_is_dead_after_what_it_may_be_and_one_that_beats_is_not() -> None:
    roll = Roll(CLAIM_S)
    for now in range(6):
        assert roll.call({b"dies": stamp(0), b"lives": stamp(1000 * now)}, 1000 * now, float(now), set()) == set()
    assert set(roll.alive) == {"dies", "lives"}
    assert roll.call({b"dies": stamp(0), b"lives": stamp(6000)}, 6000, 6.0, set()) == {"dies"}
    assert (set(roll.alive), roll.lost) == ({"lives"}, 1)


def test_one_that_was_dead_before_we_came_never_counts() -> None:
    roll = Roll(CLAIM_S)
    assert roll.call({b"old": stamp(1000)}, 9000, 100.0, set()) == {"old"}
    assert (roll.alive, roll.lost) == ({}, 0)


def test_one_that_takes_its_name_off_is_gone_at_once_and_not_lost() -> None:
    roll = Roll(CLAIM_S)
    looks(roll, [0.0, 0.5], {b"w": stamp(0)})
    assert roll.call({}, 1000, 1.0, set()) == {"w"}
    assert roll.lost == 0


def test_while_redis_cannot_be_asked_nobody_dies() -> None:
    roll = Roll(CLAIM_S)
    looks(roll, [0.0, 0.5], {b"w": stamp(400)})
    assert roll.call({b"w": stamp(400)}, 60_000, 60.0, set()) == set()
    assert roll.call({b"w": stamp(60_400)}, 60_500, 60.5, set()) == set()
    assert set(roll.alive) == {"w"}


def test_on_an_emptied_server_workers_have_time_to_sign_in_again() -> None:
    roll = Roll(CLAIM_S)
    looks(roll, [0.0, 0.5], {b"back": stamp(400), b"dead": stamp(400)})
    roll.emptied(1.0)
    assert looks(roll, [1.5, 2.0], {}) == set()
    assert looks(roll, [2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0], {b"back": stamp(2400)}) == set()
    assert roll.call({b"back": stamp(6400)}, 6500, 6.5, set()) == {"dead"}
    assert roll.call({}, 7000, 7.0, set()) == {"back"}  # this one left


def test_one_that_owes_something_and_never_signed_in_is_waited_for_as_long() -> None:
    roll = Roll(CLAIM_S)
    owing = frozenset({"w"})
    assert looks(roll, [0.5 * n for n in range(11)], {}, owing) == set()
    assert roll.alive == {}
    assert roll.call({}, 6000, 5.5, {"w"}) == {"w"}


def test_counts_are_read_late_answers_are_kept_and_rubbish_is_nobody() -> None:
    roll = Roll(CLAIM_S)
    said = {b"a": stamp(0, '{"unwanted": 2, "works": 7}'), b"b": b"soon", b"c": b"1 [", b"d": stamp(0, "[]")}
    roll.call(said, 0, 0.0, set())
    assert roll.alive["a"] == {"unwanted": 2, "works": 7}
    assert not {"b", "c"} & set(roll.alive)
    roll.call({}, 500, 0.5, set())
    assert (roll.alive, roll.unwanted) == ({}, 2)
