"""The edge's end of a rollback: the same session each time, and where its stream goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.training import Place, Rollbacks
from victims.radiance.victim import SPLITNERF
from wire.errors import InputError
from wire.handshake import Opened

SETTINGS = {"steps": 9, "rays": 4, "samples": 2, "levels": 2, "rows_log2": 4}


def opened(*checkpoints: int) -> Opened:
    return Opened(1, b"i" * 16, True, 0, 1 << 20, 0, checkpoints, {})


def head(done: int = 0) -> object:
    made = SPLITNERF.cut("mid", SETTINGS).head()
    made._optimiser.done = done  # as after so many steps  # type: ignore[attr-defined]
    return made


def test_the_session_stays_and_the_incarnation_grows_over_lives(tmp_path: Path) -> None:
    first = Rollbacks(tmp_path, 3, 9)
    one, two = first.next(), first.next()
    three = Rollbacks(tmp_path, 3, 9).next()  # another process, later
    assert one.session_id == two.session_id == three.session_id and len(one.session_id) == 16
    assert [c.incarnation for c in (one, two, three)] == [0, 1, 2]
    assert one.info == {"checkpoint_every": "3"} and one.checkpoints == ()
    assert Rollbacks(tmp_path / "other", 3, 9).next().session_id != one.session_id


def test_the_stream_goes_on_behind_the_newest_step_that_both_have(tmp_path: Path) -> None:
    rollbacks = Rollbacks(tmp_path, 3, 9)
    assert rollbacks.keep(head(3), Place(4, 5)) and rollbacks.keep(head(6), Place(9, 10))  # type: ignore[arg-type]
    assert not rollbacks.keep(head(7), Place(10, 11))  # type: ignore[arg-type]
    offered = rollbacks.next()
    assert offered.checkpoints == (3, 6)
    fresh = head()
    assert rollbacks.settle(fresh, offered, opened(6, 9)) == Place(9, 10)  # type: ignore[arg-type]
    assert fresh.done == 6  # type: ignore[attr-defined]
    # The cloud was a checkpoint behind: the later one is void. Then it had nothing: everything begins anew.
    assert rollbacks.settle(head(), offered, opened(3)) == Place(4, 5)  # type: ignore[arg-type]
    assert rollbacks.next().checkpoints == (3,)
    assert rollbacks.settle(head(), offered, opened()) == Place(0, 0)  # type: ignore[arg-type]
    assert rollbacks.next().checkpoints == ()


def test_a_file_that_is_no_session_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/session.json").write_text(json.dumps({"session": "xyz"}))
    with pytest.raises(InputError, match=r"checkpoints/session\.json: no session: "):
        Rollbacks(tmp_path, 3, 9)
