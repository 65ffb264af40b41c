"""Growing a head keeps what it computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from victims.lidar.second import AnchorHeadSingle, BaseBEVBackbone
from victims.lidar.widen import widen


def lived(module: nn.Module) -> nn.Module:
    """As after a training: BatchNorm statistics and scales that are not their defaults."""
    generator = torch.Generator().manual_seed(1)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.3, generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    return module.eval()


def test_the_wide_head_predicts_what_the_narrow_one_did() -> None:
    torch.manual_seed(0)
    narrow = lived(BaseBEVBackbone(256, layers=(2, 1), filters=(8, 12), up=16))
    wide = BaseBEVBackbone(256, layers=(4, 3), filters=(16, 24), up=32).eval()
    narrow_head, wide_head = AnchorHeadSingle(32), AnchorHeadSingle(64)
    widen(narrow, narrow_head, wide, wide_head)
    bev = torch.randn(2, 256, 12, 16)
    for thin, thick in zip(narrow_head(narrow(bev)), wide_head(wide(bev)), strict=True):
        torch.testing.assert_close(thin, thick, rtol=1e-4, atol=1e-4)


def test_the_spare_channels_can_be_trained() -> None:
    torch.manual_seed(0)
    narrow, wide = lived(BaseBEVBackbone(256, (1, 1), (8, 8), 8)), BaseBEVBackbone(256, (2, 2), (16, 16), 16).eval()
    narrow_head, wide_head = AnchorHeadSingle(16), AnchorHeadSingle(32)
    widen(narrow, narrow_head, wide, wide_head)
    wide_head(wide(torch.randn(1, 256, 8, 8)))[0].sum().backward()
    assert float(wide_head.conv_cls.weight.grad[:, 8:16].abs().sum()) > 0


def test_a_head_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        widen(
            BaseBEVBackbone(256, (1, 1), (32, 32), 8), AnchorHeadSingle(16),
            BaseBEVBackbone(256, (1, 1), (16, 16), 8), AnchorHeadSingle(16),
        )  # fmt: skip
