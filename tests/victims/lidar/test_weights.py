from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch

from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.second import SECOND
from victims.lidar.weights import WeightsError, digest, install, load, load_openpcdet, save


def random_state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor
        for name, tensor in VoxelBackBone8x().state_dict().items()
    }


def test_digest_by_hand() -> None:
    state = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor([[3]], dtype=torch.int32)}
    sha = hashlib.sha256()
    sha.update(b"a\0torch.int32\0(1, 1)\0" + (3).to_bytes(4, "little"))
    sha.update(b"b\0torch.float32\0(2,)\0" + bytes.fromhex("0000803f000000c0"))
    assert digest(state) == sha.hexdigest()


def test_digest_sees_names_shapes_types_and_values_but_not_memory() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3)}
    same = digest({"a": torch.arange(6.0).reshape(3, 2).T.contiguous().T.contiguous().reshape(2, 3)})
    assert digest(base) == same
    strided = torch.arange(12.0).reshape(2, 6)[:, ::2]
    assert digest({"a": strided}) == digest({"a": strided.clone()})
    others = [{"b": base["a"]}, {"a": base["a"].reshape(3, 2)}, {"a": base["a"].double()}, {"a": base["a"] + 1e-6}]
    assert len({digest(base), *(digest(other) for other in others)}) == 5


def test_saved_weights_come_back(tmp_path: Path) -> None:
    state = random_state(0)
    save(state, tmp_path / "whole.safetensors")
    save(state, tmp_path / "half.safetensors", half=True)
    whole, half = load(tmp_path / "whole.safetensors"), load(tmp_path / "half.safetensors")
    assert whole.keys() == half.keys() == {k for k in state if not k.endswith("num_batches_tracked")}
    for name, tensor in whole.items():
        assert torch.equal(tensor, state[name])
        assert torch.equal(half[name], state[name].half().float())
        assert half[name].dtype == torch.float32
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []
    with pytest.raises(WeightsError, match=r"not finite in conv1.0.1.bias"):
        save({"conv1.0.1.bias": torch.tensor([7e4])}, tmp_path / "huge.safetensors", half=True)


@pytest.mark.parametrize("axes", [(1, 2, 3, 4, 0), (1, 2, 3, 0, 4), (0, 1, 2, 3, 4)])
def test_openpcdet_checkpoints_of_every_spconv_layout(axes: tuple[int, ...], tmp_path: Path) -> None:
    """(out, z, y, x, in) stored as spconv 1.x (z, y, x, in, out), early 2.x (z, y, x, out, in), or as it is."""
    generator = torch.Generator().manual_seed(1)
    detector = SECOND(align_center=False)
    goal = {
        k: torch.randn(v.shape, generator=generator) if v.is_floating_point() else v
        for k, v in detector.state_dict().items()
    }
    stored = {k: v.permute(axes).contiguous() if v.ndim == 5 else v for k, v in goal.items()}
    path = tmp_path / "second_7862.pth"
    torch.save({"model_state": {**stored, "global_step": torch.tensor([80])}, "epoch": 80, "it": 3}, path)
    install(detector, load_openpcdet(path), str(path))
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point():
            assert torch.equal(tensor, goal[name]), name


def test_a_checkpoint_of_another_network_is_refused_with_its_differences() -> None:
    state = random_state(0)
    del state["conv_out.1.bias"]
    state["conv5.0.weight"] = torch.zeros(1)
    state["conv2.0.1.weight"] = torch.zeros(48)
    state["conv3.0.1.weight"][0] = torch.nan
    with pytest.raises(WeightsError) as caught:
        install(VoxelBackBone8x(), state, "mine.pth")
    message = str(caught.value)
    assert message.startswith("mine.pth does not fit VoxelBackBone8x: ")
    assert "missing conv_out.1.bias" in message
    assert "unexpected conv5.0.weight" in message
    assert "conv2.0.1.weight (48,) instead of (32,)" in message
    assert "not finite in conv3.0.1.weight" in message
    assert "\n" not in message


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('code from a checkpoint was run')",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "trap.pth"
    with path.open("wb") as file:
        pickle.dump({"model_state": _Trap()}, file)
    with pytest.raises(WeightsError, match=r"trap.pth: not readable as a checkpoint"):
        load_openpcdet(path)
    torch.save({"model_state": _Trap()}, path)
    with pytest.raises(WeightsError, match=r"trap.pth: not readable as a checkpoint"):
        load_openpcdet(path)


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"\x00" * 100)
    with pytest.raises(WeightsError, match=r"not readable as safetensors"):
        load(noise)
    torch.save({"state_dict": {}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"no model_state inside"):
        load_openpcdet(tmp_path / "other.pth")
