"""The project's errors, in one tree::

EavesplitError
├── InputError            what a user or a file gave is not acceptable (one line, exit code 2)
│   └── MissingExtraError an optional dependency is absent; the text is the command that installs it
├── WireError             the stream itself
│   ├── DecodeError       bytes that are no message, header or payload of ours
│   ├── SessionRefused    the cloud refused to open the session (code and reason)
│   └── FrameError        one transfer failed; the stream goes on
└── RunError              a run's sums do not hold, or a process did not come up
"""

from __future__ import annotations


class EavesplitError(Exception):
    """Base of every error that this project raises on purpose."""


class InputError(EavesplitError, ValueError):
    """Bad input. The text names the value, what is accepted and where it came from."""


class MissingExtraError(InputError, ImportError):
    """An optional dependency is absent. The text is the command that installs it."""


class WireError(EavesplitError):
    """Something about the stream."""


class DecodeError(WireError, ValueError):
    """Bytes that are no valid message, header or payload."""


class SessionRefused(WireError):
    """The cloud refused the session.

    ``code`` is the name from ``proto/frame.proto`` (``DIGEST_MISMATCH``, ``BAD_SPLIT`` ...).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class FrameError(WireError):
    """One transfer failed at the cloud; other frames go on.

    ``code`` is the name from ``proto/frame.proto`` (``BAD_HEADER``, ``COMPUTE`` ...).
    """

    def __init__(self, code: str, message: str, exchange: int = 0) -> None:
        super().__init__(f"frame {exchange}: {code}: {message}")
        self.code = code
        self.exchange = exchange


class RunError(EavesplitError):
    """A run cannot be trusted: its sums do not hold, or a process did not come up."""
