"""Our ResNets and transformers: torchvision's names and sizes, the shortcut by hand, published checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from victims.image.cifar import read
from victims.image.mapping import install, published_cifar_resnet, read_checkpoint
from victims.image.preprocessing import IMAGENET, images_of, pictures_of
from victims.image.resnet import Padding, cifar_resnet, resnet18, resnet50
from victims.image.vit import cifar_vit, vit_b_16
from wire.errors import InputError


@pytest.fixture(scope="module")
def photo() -> dict[str, nn.Module]:
    return {"resnet18": resnet18(), "resnet50": resnet50(), "vit_b_16": vit_b_16()}


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_sizes_are_those_that_torchvision_states(photo: dict[str, nn.Module]) -> None:
    # Parameters as printed in torchvision's table of weights.
    assert count(photo["resnet18"]) == 11_689_512
    assert count(photo["resnet50"]) == 25_557_032
    assert count(photo["vit_b_16"]) == 86_567_656
    assert round(count(cifar_resnet(20)) / 1e6, 2) == 0.27
    assert round(count(cifar_resnet(56)) / 1e6, 2) == 0.85  # He et al. 2016, table 6


def test_names_are_torchvisions(photo: dict[str, nn.Module]) -> None:
    r18, r50, vit = (set(network.state_dict()) for network in photo.values())
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.1.bias", "layer4.1.conv2.weight", "fc.bias"} <= r18
    assert {"layer1.0.downsample.0.weight", "layer3.5.bn3.weight"} <= r50 and "layer1.0.downsample.0.weight" not in r18
    block = "encoder.layers.encoder_layer_11."
    assert {
        "class_token",
        "conv_proj.bias",
        "encoder.pos_embedding",
        "encoder.ln.weight",
        "heads.head.weight",
        block + "self_attention.in_proj_weight",
        block + "self_attention.out_proj.bias",
        block + "mlp.0.weight",
        block + "mlp.3.bias",
        block + "ln_2.bias",
    } <= vit
    assert len(vit) == 4 + 12 * 12 + 4


def test_shapes_at_the_papers_layers(photo: dict[str, nn.Module]) -> None:
    network, shapes = photo["resnet18"].eval(), []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        network.get_submodule(stage).register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert shapes == [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    assert cifar_vit().conv_proj(torch.zeros(1, 3, 32, 32)).shape[2:] == (8, 8)


def test_a_shortcut_without_weights_by_hand() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4)
    y = Padding(2, 3)(x)
    assert y.shape == (1, 5, 2, 2)
    assert y[0, 1].tolist() == [[0, 2], [8, 10]] and y[0, 2].tolist() == [[16, 18], [24, 26]]
    assert float(y[0, [0, 3, 4]].abs().max()) == 0  # one before, two after


def test_depths_that_do_not_exist() -> None:
    with pytest.raises(InputError) as caught:
        cifar_resnet(21)
    assert str(caught.value) == "a CIFAR ResNet of 21 layers; accepted: 6 n + 2, such as 20, 32, 56"


def test_normalising_and_back() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    assert (images_of(pictures_of(images)) == images).all()
    red = IMAGENET.normalised(torch.full((1, 3, 1, 1), 0.5))[0, 0, 0, 0]
    assert float(red) == pytest.approx((0.5 - 0.485) / 0.229)


def test_a_checkpoint_in_the_published_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = cifar_resnet(14).eval()
    path = tmp_path / "published.th"
    renamed = {"module." + key.replace("fc.", "linear."): value for key, value in network.state_dict().items()}
    torch.save({"state_dict": renamed, "best_prec1": 91.0}, path)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(published_cifar_resnet(path)(x), network(x))


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    network, path = cifar_resnet(8), tmp_path / "w.pt"
    state = network.state_dict()
    del state["fc.bias"]
    state["fc.weight"] = torch.full((10, 63), torch.nan)
    state["more"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        install(network, {k: v for k, v in state.items() if "num_batches" not in k}, "weights w.pt")
    assert str(caught.value) == (
        "weights w.pt does not fit ResNet: 1 missing (first fc.bias), 1 unexpected (first more), "
        "1 of another shape (first fc.weight), 1 not finite (first fc.weight)"
    )
    with pytest.raises(InputError, match=r"^weights .+: no such file$"):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match=r"accepted is a mapping of names to tensors, plain or under state_dict$"):
        read_checkpoint(path)
    torch.save(network, path)  # a whole pickled module: code, never run
    with pytest.raises(InputError, match=r"^weights .+: not readable as a checkpoint of plain tensors \("):
        read_checkpoint(path)
    path.with_suffix(".safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match=r"^weights .+: not readable \("):
        read_checkpoint(path.with_suffix(".safetensors"))


@pytest.mark.real
@pytest.mark.parametrize(("file", "right"), [("resnet20-12fca82f.th", 94), ("resnet56-4bfd9763.th", 96)])
def test_published_networks_recognise_as_stated(real_data: Path, file: str, right: int) -> None:
    """94 and 96 of the 100 lossless test pictures, as measured by whoever collected the data."""
    network = published_cifar_resnet(real_data / "weights" / "cifar10_resnet" / file)
    pictures = read(real_data / "images", "lossless-test")
    with torch.no_grad():
        given = network(IMAGENET.normalised(pictures_of(pictures.images))).argmax(1).numpy()
    assert int((given == pictures.labels).sum()) == right
