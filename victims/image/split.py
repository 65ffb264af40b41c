"""Any traceable network, cut in two behind one of its modules.

    split = Split(network, at="layer3.0")
    features = split.head(pictures)
    logits = split.tail(features)

The network is traced (torch.fx) and its operations are divided, in the order in which they run, behind the last one of
the module ``at``. That is a cut where a single tensor crosses: what the tail needs must not come past the module, as a
skip connection around it would.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from wire.errors import InputError

_SHOWN = 30


_TRACING = threading.Lock()


class _Tracer(fx.Tracer):
    """Traces what its own thread calls: while any trace lasts, torch.fx patches every module's call, in all threads."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._owner:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._owner:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


class _Shallow(_Tracer):
    """Looks into no module but the outermost: for networks with a part that cannot be traced."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class Split:
    """head: the module up to the cut, tail: the rest; both share one frozen copy of the weights, in eval mode.

    at: a module's name as in ``named_modules``. Where the network calls it several times, the cut is behind the last.
    InputError says why the network cannot be cut there and lists where it can.
    """

    def __init__(self, module: nn.Module, at: str) -> None:
        network = copy.deepcopy(module).eval().requires_grad_(False)
        graph, whole = _traced(network)
        ends = _ends(graph)
        possible = _where(graph)
        if at not in ends:
            known = at in dict(network.named_modules())
            why = "does not exist" if not known else "is never called" if whole else "is in a part that does not trace"
            raise InputError(f"{type(module).__name__} cannot be cut at {at!r}: it {why}; {_listed(possible)}")
        crossing = _crossing(graph, ends[at])
        if at not in possible:
            if crossing:
                names = ", ".join(node.name for node in crossing)
                why = f"{len(crossing)} values cross there ({names}), and one is accepted"
            else:
                why = "nothing follows it"
            raise InputError(f"{type(module).__name__} cannot be cut at {at!r}: {why}; {_listed(possible)}")
        self.at = at
        self.head, self.tail = _halves(network, graph, ends[at], crossing[0])

    def __call__(self, inputs: Tensor) -> Tensor:
        """What the whole network gives, through both halves."""
        whole: Tensor = self.tail(self.head(inputs))
        return whole


def _traced(network: nn.Module) -> tuple[fx.Graph, bool]:
    """The network's operations and True; where a part cannot be traced, those between its direct modules and False."""
    with _TRACING:
        try:
            return _Tracer().trace(network), True
        except Exception as deep:  # whatever a forward raises when it is given proxies
            try:
                return _Shallow().trace(network), False
            except Exception:
                raise InputError(
                    f"{type(network).__name__} cannot be traced ({_first(deep)}); "
                    "accepted: a forward that does not branch on values"
                ) from deep


def _ends(graph: fx.Graph) -> dict[str, int]:
    """Module name -> position of its last operation, in the order in which the modules end."""
    ends: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        for name, _ in (node.meta.get("nn_module_stack") or {}).values():
            if name:
                ends.pop(name, None)
                ends[name] = position
    return ends


def where(module: nn.Module) -> tuple[str, ...]:
    """The modules behind which ``module`` can be cut, in the order in which they end. InputError: it does not trace."""
    return _where(_traced(copy.deepcopy(module).eval())[0])


def _where(graph: fx.Graph) -> tuple[str, ...]:
    return tuple(name for name, end in _ends(graph).items() if len(_crossing(graph, end)) == 1)


def _crossing(graph: fx.Graph, end: int) -> list[fx.Node]:
    """Values made up to position ``end`` and needed after it; weights do not count, both halves hold theirs."""
    place = {node: position for position, node in enumerate(graph.nodes)}
    found = [
        node
        for node, position in place.items()
        if position <= end and node.op != "get_attr" and any(place[user] > end for user in node.users)
    ]
    last = next(reversed(list(graph.nodes)))
    only_output = all(user is last for node in found for user in node.users if place[user] > end)
    return [] if only_output else found


def _halves(network: nn.Module, graph: fx.Graph, end: int, crossing: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    head, tail = fx.Graph(), fx.Graph()
    inside: dict[fx.Node, fx.Node] = {}
    after: dict[fx.Node, fx.Node] = {}
    for position, node in enumerate(graph.nodes):
        if position <= end:
            inside[node] = head.node_copy(node, lambda old: inside[old])
        if node.op == "get_attr":
            after[node] = tail.node_copy(node)
        elif position == end:
            after[crossing] = tail.placeholder("features")
        elif position > end:
            after[node] = tail.node_copy(node, lambda old: after[old])
    head.output(inside[crossing])
    return _module(network, head, "Head"), _module(network, tail, "Tail")


def _module(network: nn.Module, graph: fx.Graph, name: str) -> fx.GraphModule:
    """The operations as a module that holds the weights they use, and no others."""
    module = fx.GraphModule(network, graph, name)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _listed(where: tuple[str, ...]) -> str:
    if not where:
        return "it can be cut nowhere"
    more = f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else ""
    return f"it can be cut at {', '.join(_spread(where))}{more}"


def _spread(where: tuple[str, ...]) -> Iterator[str]:
    """At most :data:`_SHOWN` names, the outer modules first to be kept, in the order in which they end."""
    kept = sorted(range(len(where)), key=lambda i: (where[i].count("."), i))[:_SHOWN]
    return (where[i] for i in sorted(kept))


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def relative_depth(network: nn.Module, at: str, example: Tensor) -> float:
    """Share of the network's multiply-accumulate operations that come before the cut, 0..1.

    Counted on convolutions, linear layers and attention's projections for ``example``. It compares depths of different
    networks, where layer numbers do not.
    """
    split = Split(network, at)
    with torch.no_grad():
        head = _operations(split.head, example)
        return head / (head + _operations(split.tail, split.head(example)))


def _operations(module: nn.Module, example: Tensor) -> int:
    total = 0

    def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
        nonlocal total
        if isinstance(part, nn.Conv2d) and isinstance(output, Tensor):
            total += output.numel() * part.weight[0].numel()
        elif isinstance(part, nn.Linear) and isinstance(output, Tensor):
            total += output.numel() * part.in_features
        elif isinstance(part, nn.MultiheadAttention):
            tokens = inputs[0].shape[0] * inputs[0].shape[1]
            total += 4 * tokens * part.embed_dim**2

    hooks = [part.register_forward_hook(count) for part in module.modules()]
    try:
        module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return total
