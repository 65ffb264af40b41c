"""Cuts of any network: both halves together are the whole, and what cannot be cut says why and where it can."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

from victims.image.resnet import cifar_resnet
from victims.image.split import Split, relative_depth, where
from victims.image.vit import cifar_vit
from wire.errors import InputError

PICTURES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return cifar_resnet(8).eval()


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    torch.manual_seed(0)
    return cifar_vit(width=16, depth=2).eval()


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_halves_are_the_whole_at_every_place(kind: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(kind)
    wanted = network(PICTURES)
    places = where(network)
    assert {"conv1", "layer1", "avgpool"} <= set(places) or {"conv_proj", "encoder.ln"} <= set(places)
    for at in places:
        # Attention of frozen weights runs in one fused call, which adds up in another order.
        assert torch.allclose(Split(network, at)(PICTURES), wanted, atol=1e-5), at


def test_features_are_what_a_hook_sees(vit: nn.Module) -> None:
    seen: list[Tensor] = []
    block = vit.get_submodule("encoder.layers.encoder_layer_0")
    hook = block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    vit(PICTURES)
    hook.remove()
    assert torch.allclose(Split(vit, "encoder.layers.encoder_layer_0").head(PICTURES), seen[0], atol=1e-5)
    assert seen[0].shape == (2, 65, 16)


def test_each_half_holds_its_own_weights(resnet: nn.Module) -> None:
    split = Split(resnet, "layer2.0")
    head, tail = split.head.state_dict(), split.tail.state_dict()
    assert not head.keys() & tail.keys()
    assert head.keys() | tail.keys() == resnet.state_dict().keys()
    assert {name.split(".")[0] for name in tail} == {"layer3", "fc"}


def test_the_network_given_stays_as_it_was(resnet: nn.Module) -> None:
    network = copy.deepcopy(resnet).train()
    split = Split(network, "layer1.0")
    assert network.training and all(p.requires_grad for p in network.parameters())
    assert not any(p.requires_grad for p in split.tail.parameters())
    before = split(PICTURES)
    network.conv1.weight.data.zero_()
    assert torch.equal(split(PICTURES), before)


def test_gradients_pass_both_halves(resnet: nn.Module) -> None:
    pictures = PICTURES.clone().requires_grad_()
    (through,) = torch.autograd.grad(Split(resnet, "layer1.0")(pictures).sum(), pictures)
    (whole,) = torch.autograd.grad(resnet(pictures).sum(), pictures)
    assert torch.equal(through, whole)


class Skips(nn.Module):
    """The input itself is needed again at the end, and ``unused`` never."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.join, self.last = nn.Bilinear(3, 3, 3), nn.Linear(3, 2)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.join(self.second(self.first(x)), x))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(x) if x.sum() > 0 else self.down(x)


class Around(nn.Module):
    """Traceable but for its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.middle, self.after = nn.Linear(3, 3), Branches(), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.middle(self.before(x)))


@pytest.mark.parametrize(
    ("network", "at", "line"),
    [
        (Skips(), "second", "2 values cross there (x, second), and one is accepted; it can be cut at join"),
        (Skips(), "unused", "it is never called; it can be cut at join"),
        (Skips(), "third", "it does not exist; it can be cut at join"),
        (Skips(), "last", "nothing follows it; it can be cut at join"),
        (Around(), "middle.up", "it is in a part that does not trace; it can be cut at before, middle"),
    ],
)
def test_a_cut_that_is_none_says_why(network: nn.Module, at: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        Split(network, at)
    assert str(caught.value) == f"{type(network).__name__} cannot be cut at {at!r}: {line}"


def test_a_network_that_branches_on_values_cannot_be_traced() -> None:
    with pytest.raises(
        InputError, match=r"^Branches cannot be traced \(.+\); accepted: a forward that does not branch"
    ):
        Split(Branches(), "up")


def test_a_part_that_does_not_trace_is_kept_whole() -> None:
    network, x = Around().eval(), torch.randn(2, 3)
    assert torch.equal(Split(network, "middle")(x), network(x))


def test_relative_depth_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 7))
    # 4 * 25 outputs of 27 products, then 7 of 100.
    assert relative_depth(network, "1", torch.zeros(1, 3, 5, 5)) == pytest.approx(2700 / 3400)


def test_other_threads_run_and_trace_networks_meanwhile() -> None:
    """A listener opens an inverter in one thread while another inverts: torch.fx patches every module's call."""
    network, inputs = cifar_resnet(8).eval(), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        wanted = network(inputs)
    over, troubles = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            while not over.is_set():
                with torch.no_grad():
                    assert torch.equal(network(inputs), wanted)
        except Exception as error:
            troubles.append(error)

    def trace() -> None:
        try:
            for _ in range(4):
                with torch.no_grad():
                    assert torch.allclose(Split(network, "layer2.0")(inputs), wanted, atol=1e-5)
        except Exception as error:
            troubles.append(error)

    runner, tracers = threading.Thread(target=run), [threading.Thread(target=trace) for _ in range(3)]
    for thread in (runner, *tracers):
        thread.start()
    for thread in tracers:
        thread.join()
    over.set()
    runner.join()
    assert troubles == []
