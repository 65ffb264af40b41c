"""Pictures beside the panels: those of the frame that the panels show, or the newest before it."""

from __future__ import annotations

from console.beside import KEPT, Beside


def told(beside: Beside) -> dict[str, tuple[int, str]] | None:
    found = beside.fresh()
    return None if found is None else {item["name"]: (item["frame"], item["picture"]) for item in found}


def test_what_stands_beside_is_never_of_a_later_frame_than_the_panels() -> None:
    beside = Beside()
    beside.add(3, "owner", "o3")
    assert told(beside) is None  # nothing is shown yet
    beside.turn(3)
    assert told(beside) == {"owner": (3, "o3")}
    assert told(beside) is None  # told once
    beside.add(4, "owner", "o4")
    assert told(beside) is None  # of a frame that is yet to be shown
    beside.add(3, "floor", "f3")
    assert told(beside) == {"floor": (3, "f3"), "owner": (3, "o3")}
    beside.turn(5)
    assert told(beside) == {"floor": (3, "f3"), "owner": (4, "o4")}
    beside.add(5, "floor", "f5")
    assert told(beside) == {"floor": (5, "f5"), "owner": (4, "o4")}


def test_it_keeps_so_many_of_each_and_none_of_another_session() -> None:
    beside = Beside()
    for frame in range(KEPT + 1):
        beside.add(frame, "owner", str(frame))
    beside.turn(0)
    assert told(beside) is None  # overtaken
    beside.turn(1)
    assert told(beside) == {"owner": (1, "1")}
    beside.forget()
    assert told(beside) == {}
    beside.turn(2)
    assert told(beside) is None
