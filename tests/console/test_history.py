"""The curves' window."""

from __future__ import annotations

from console.history import History


def test_columns_are_of_one_length_in_order_of_frames_with_holes() -> None:
    history = History(10)
    history.put(2, head=3.0)
    history.put(1, head=1.0, tail=5.0)
    history.put(2, score=0.123456)
    assert history.columns() == {
        "frame": [1, 2],
        "head": [1.0, 3.0],
        "score": [None, 0.1235],
        "tail": [5.0, None],
    }


def test_the_oldest_goes_and_is_not_called_back_by_a_late_score() -> None:
    history = History(3)
    for frame in range(5):
        history.put(frame, head=float(frame))
    history.put(0, score=1.0)
    history.put(3, score=0.5)
    assert history.columns() == {"frame": [2, 3, 4], "head": [2.0, 3.0, 4.0], "score": [None, 0.5, None]}


def test_a_new_session_begins_empty() -> None:
    history = History(3)
    history.put(7, head=1.0)
    history.clear()
    history.put(0, head=2.0)
    assert history.columns() == {"frame": [0], "head": [2.0]}
