"""State is keyed and collapses: the present at once for a late joiner, the newest alone for a slow one."""

from __future__ import annotations

import json
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from console.hub import Hub, Mailbox


def drain(mailbox: Mailbox) -> list[tuple[str, Any]]:
    found = []
    while (item := mailbox.take()) is not None:
        found.append((item[0], json.loads(item[1])))
    return found


def test_a_late_joiner_gets_the_whole_present_and_nothing_of_the_past() -> None:
    hub = Hub()
    for frame in range(100):
        hub.publish("truth", frame)
    hub.publish("status", {"paused": False})
    assert drain(hub.join(lambda: None)) == [("truth", 99), ("status", {"paused": False})]


def test_a_slow_client_holds_one_value_for_a_key_and_the_others_lose_nothing() -> None:
    hub = Hub()
    slow, quick = hub.join(lambda: None), hub.join(lambda: None)
    seen = []
    for frame in range(1000):
        hub.publish("truth", frame)
        hub.publish("status", {"frame": frame})
        seen += drain(quick)
    assert [value for key, value in seen if key == "truth"] == list(range(1000))
    assert quick.replaced == 0
    assert len(slow) == 2
    assert slow.replaced == 2 * 999
    assert drain(slow) == [("truth", 999), ("status", {"frame": 999})]


def test_a_key_that_changes_often_starves_no_other() -> None:
    hub = Hub()
    mailbox = hub.join(lambda: None)
    hub.publish("often", 0)
    hub.publish("rare", "here")
    hub.publish("often", 1)
    assert mailbox.take() == ("often", b"1")
    hub.publish("often", 2)
    assert mailbox.take() == ("rare", b'"here"')


def test_who_left_is_told_nothing_more_and_keeps_nobody_waiting() -> None:
    hub = Hub()
    woken: list[int] = []
    mailbox = hub.join(lambda: woken.append(1))
    hub.publish("truth", 1)
    hub.leave(mailbox)
    hub.publish("truth", 2)
    assert (len(woken), hub.clients) == (1, 0)
    assert drain(mailbox) == [("truth", 1)]


def test_what_is_not_finite_becomes_null() -> None:
    hub = Hub()
    hub.publish("scores", {"a": float("nan"), "b": float("inf")})
    assert drain(hub.join(lambda: None)) == [("scores", {"a": None, "b": None})]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.one_of(st.tuples(st.sampled_from("abc"), st.integers()), st.just("take"))))
def test_sent_and_replaced_are_all_that_was_published(steps: list[Any]) -> None:
    hub = Hub()
    mailbox, published, sent = hub.join(lambda: None), 0, []
    last: dict[str, int] = {}
    for step in steps:
        if step == "take":
            if (item := mailbox.take()) is not None:
                sent.append(item)
        else:
            hub.publish(*step)
            published += 1
            last[step[0]] = step[1]
    rest = drain(mailbox)
    assert len(sent) + len(rest) + mailbox.replaced == published
    newest = {key: json.loads(value) for key, value in sent} | dict(rest)
    assert newest == last


def test_joining_in_the_middle_of_publishing_misses_nothing() -> None:
    hub = Hub()
    over = threading.Event()

    def publish() -> None:
        number = 0
        while not over.is_set():
            hub.publish("n", number)
            number += 1
        hub.publish("n", "end")

    thread = threading.Thread(target=publish)
    thread.start()
    boxes = [hub.join(lambda: None) for _ in range(50)]
    over.set()
    thread.join()
    assert all(drain(box)[-1] == ("n", "end") for box in boxes)
