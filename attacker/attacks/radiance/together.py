"""Several states as one, and back."""

from __future__ import annotations

from victims.base import State


def joined(**states: State) -> State:
    """Each state's names with its own name and a slash before them."""
    tensors = {f"{name}/{key}": tensor for name, state in states.items() for key, tensor in state.tensors.items()}
    meta = {f"{name}/{key}": value for name, state in states.items() for key, value in state.meta.items()}
    return State(tensors, meta)


def parted(state: State) -> dict[str, State]:
    """What :func:`joined` was given."""
    names = {key.partition("/")[0] for key in (*state.tensors, *state.meta)}

    def of(name: str) -> State:
        start = f"{name}/"
        tensors = {key.removeprefix(start): t for key, t in state.tensors.items() if key.startswith(start)}
        return State(tensors, {key.removeprefix(start): v for key, v in state.meta.items() if key.startswith(start)})

    return {name: of(name) for name in names}
