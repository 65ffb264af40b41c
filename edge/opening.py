"""Another session, opened beside the one that streams: what cannot be opened costs the stream nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge.session import Session
from victims.base import Cut
from wire.errors import EavesplitError


class Opener:
    """Opens one session at a time; of wishes that come meanwhile the last one counts.

    prepare: makes and opens the session of a cut; takes as long as it must. install: lets it take over; it may refuse.
    """

    def __init__(self, prepare: Callable[[Cut], Session], install: Callable[[Session], None]) -> None:
        self._prepare, self._install = prepare, install
        self._wanted: Cut | None = None
        self._running = False
        self._lock = threading.Lock()
        self.trouble: str | None = None

    @property
    def opening(self) -> str | None:
        """The split point of the session that is being opened."""
        wanted = self._wanted
        return wanted.split if wanted else None

    def ask(self, cut: Cut | None) -> None:
        """Open a session of this cut; None: stay with what there is. Returns at once."""
        with self._lock:
            self._wanted, self.trouble = cut, None
            if cut is not None and not self._running:
                self._running = True
                threading.Thread(target=self._run, name="opening", daemon=True).start()

    def _run(self) -> None:
        while (cut := self._next()) is not None:
            trouble = self._open(cut)
            with self._lock:
                if self._wanted is cut:
                    self._wanted, self.trouble = None, trouble

    def _next(self) -> Cut | None:
        with self._lock:
            self._running = self._wanted is not None
            return self._wanted

    def _open(self, cut: Cut) -> str | None:
        """None, or in one line why the old session goes on."""
        session: Session | None = None
        try:
            session = self._prepare(cut)
            if self._wanted is cut:
                self._install(session)
                return None
            why = None
        except EavesplitError as error:
            why = f"split {cut.split}: {error}"
        except Exception as error:  # whatever it is, the stream is not to end of it
            logging.getLogger(__name__).exception("opening a session at %s", cut.split)
            why = f"split {cut.split}: {type(error).__name__}: {error}".splitlines()[0]
        if session is not None:
            session.client.close("not used")
        return why
