"""The model of a curious cloud, as its listener gets it: once for each time that pictures are asked for."""

from __future__ import annotations

from collections.abc import Callable

from safetensors.torch import save

from victims.base import State, Stateful, Tail
from wire.payload import Payload

WEIGHT = "weight."
"""What the names of weights begin with in the state of a tail that is trained."""

OnSnapshot = Callable[[bytes, bytes], None]
"""Called with the session's id and :func:`packed` bytes."""


class Snapshots:
    """One session's: tells the model before rays that no gradients will follow, once after each step."""

    def __init__(self, session_id: bytes, tell: OnSnapshot) -> None:
        self._session_id, self._tell = session_id, tell
        self._told: int | None = None

    def before(self, tail: Tail, payload: Payload) -> None:
        """``payload`` is about to be answered by ``tail``."""
        if payload.role != "rays" or payload.meta.get("train") is not False or not isinstance(tail, Stateful):
            return
        state = tail.state()
        done = int(state.meta["done"])  # type: ignore[arg-type]
        if done != self._told:
            self._told = done
            self._tell(self._session_id, packed(state, self._session_id, done))


def packed(state: State, session_id: bytes, done: int) -> bytes:
    """safetensors of the weights alone, named as in the network; metadata ``session`` (hex) and ``step`` (steps
    done)."""
    weights = {
        name.removeprefix(WEIGHT): tensor.contiguous()
        for name, tensor in state.tensors.items()
        if name.startswith(WEIGHT)
    }
    return bytes(save(weights, {"session": session_id.hex(), "step": str(done)}))
