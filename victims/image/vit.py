"""Vision transformers (Dosovitskiy et al. 2021) with torchvision's parameter names, for photographs and 32x32 pictures.

A published state dict of torchvision's ``vit_b_16`` loads strictly. Block k of the paper's count is
``encoder.layers.encoder_layer_{k-1}``, after the residual addition, all tokens.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each after a layer norm and added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        # torchvision's numbering has dropouts at places 2 and 4.
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same shape."""
        y = self.ln_1(x)
        x = x + self.self_attention(y, y, y, need_weights=False)[0]
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class Encoder(nn.Module):
    """Position embedding, blocks, a last layer norm."""

    def __init__(self, tokens: int, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, width).normal_(std=0.02))
        blocks = [(f"encoder_layer_{i}", EncoderBlock(width, heads, hidden)) for i in range(depth)]
        self.layers = nn.Sequential(OrderedDict(blocks))
        self.ln = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same shape."""
        encoded: Tensor = self.ln(self.layers(x + self.pos_embedding))
        return encoded


class VisionTransformer(nn.Module):
    """Patches, a class token, the encoder, and a linear layer on the class token.

    side: of a picture, patch: of a patch, in pixels. hidden: of the perceptrons.
    """

    def __init__(
        self, side: int, patch: int, *, width: int, depth: int, heads: int, hidden: int, classes: int = 1000
    ) -> None:
        super().__init__()
        self.conv_proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = Encoder((side // patch) ** 2 + 1, width, heads, hidden, depth)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(width, classes)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, side, side) to logits (B, classes)."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], 1)
        logits: Tensor = self.heads(self.encoder(tokens)[:, 0])
        return logits

    def glimpse(self, x: Tensor, kept: float, draw: torch.Generator) -> Tensor:
        """Logits (B, classes) from a random share ``kept`` of each picture's patches, for training only."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2) + self.encoder.pos_embedding[:, 1:]
        count, patch_count, width = patches.shape
        chosen = torch.rand((count, patch_count), generator=draw).argsort(1)[:, : max(1, round(kept * patch_count))]
        seen = patches.gather(1, chosen[:, :, None].expand(-1, -1, width))
        first = (self.class_token + self.encoder.pos_embedding[:, :1]).expand(count, -1, -1)
        tokens = self.encoder.ln(self.encoder.layers(torch.cat([first, seen], 1)))
        logits: Tensor = self.heads(tokens[:, 0])
        return logits


def vit_b_16(classes: int = 1000) -> VisionTransformer:
    """ViT-B with patches of 16 pixels, for 224x224 photographs."""
    return VisionTransformer(224, 16, width=768, depth=12, heads=12, hidden=3072, classes=classes)


def cifar_vit(classes: int = 10, *, width: int = 96, depth: int = 6) -> VisionTransformer:
    """A small one for 32x32 pictures: 4-pixel patches, so 65 tokens."""
    return VisionTransformer(32, 4, width=width, depth=depth, heads=4, hidden=2 * width, classes=classes)
