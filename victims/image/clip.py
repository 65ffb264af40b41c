"""CLIP's image encoder (Radford et al. 2021) with the parameter names of transformers'
``CLIPVisionModelWithProjection``.

Written out because a network must be traceable to be cut at any layer. Its last layer scales the embedding to unit
length, as comparing it with texts does: the part that is left for the cloud when the network is cut end to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wire.errors import InputError

if TYPE_CHECKING:
    from transformers import CLIPTextModelWithProjection

_EPS = 1e-5


class _Embeddings(nn.Module):
    def __init__(self, side: int, patch: int, width: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width).normal_(std=0.02))
        self.patch_embedding = nn.Conv2d(3, width, patch, patch, bias=False)
        self.position_embedding = nn.Embedding((side // patch) ** 2 + 1, width)
        nn.init.normal_(self.position_embedding.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embedding(x).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        return torch.cat([first, patches], 1) + self.position_embedding.weight


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            proj(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return result


class _Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        result: Tensor = self.fc2(x * torch.sigmoid(1.702 * x))  # the published weights' approximation of GELU
        return result


class ClipLayer(nn.Module):
    """Attention and a perceptron, each after a layer norm and added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = _Perceptron(width, hidden)
        self.layer_norm2 = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same shape."""
        x = x + self.self_attn(self.layer_norm1(x))
        result: Tensor = x + self.mlp(self.layer_norm2(x))
        return result


class _Encoder(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(ClipLayer(width, heads, hidden) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class _Vision(nn.Module):
    def __init__(self, side: int, patch: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.embeddings = _Embeddings(side, patch, width)
        self.pre_layrnorm = nn.LayerNorm(width, eps=_EPS)  # spelled as published
        self.encoder = _Encoder(width, heads, hidden, depth)
        self.post_layernorm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.encoder(self.pre_layrnorm(self.embeddings(x)))
        result: Tensor = self.post_layernorm(tokens[:, 0])
        return result


class _Unit(nn.Module):
    """Vectors (B, K) to length 1."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


class ClipImageEncoder(nn.Module):
    """side: of a picture, patch: of a patch, in pixels; hidden: of the perceptrons; embedding: numbers at the end."""

    def __init__(
        self, side: int, patch: int, *, width: int, depth: int, heads: int, hidden: int, embedding: int
    ) -> None:
        super().__init__()
        self.vision_model = _Vision(side, patch, width, depth, heads, hidden)
        self.visual_projection = nn.Linear(width, embedding, bias=False)
        self.unit = _Unit()

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, side, side) to embeddings (B, embedding) of length 1."""
        result: Tensor = self.unit(self.visual_projection(self.vision_model(x)))
        return result


def clip_vit_b_32() -> ClipImageEncoder:
    """The image encoder of CLIP ViT-B/32: 12 layers, an embedding of 512 numbers."""
    return ClipImageEncoder(224, 32, width=768, depth=12, heads=12, hidden=3072, embedding=512)


def image_encoder_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's tensors of a whole CLIP checkpoint: its text encoder and constant tables are left out."""
    return {
        key: tensor
        for key, tensor in state.items()
        if key.startswith(("vision_model.", "visual_projection.")) and not key.endswith("position_ids")
    }


def text_encoder(folder: Path) -> CLIPTextModelWithProjection:
    """The text encoder that ``folder`` holds beside the image encoder, in eval mode. InputError where it has none."""
    from transformers import CLIPTextModelWithProjection
    from transformers.utils import logging

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: holds no config.json; accepted: a folder of a whole CLIP model")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the image encoder's tensors are left over, and are listed otherwise
    try:
        network, told = CLIPTextModelWithProjection.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder}: no text encoder there ({str(error).splitlines()[0]})") from error
    finally:
        logging.set_verbosity(verbosity)
    if told["missing_keys"]:
        raise InputError(f"{folder}: no text encoder there ({len(told['missing_keys'])} tensors are missing)")
    text: CLIPTextModelWithProjection = network.eval()
    return text
