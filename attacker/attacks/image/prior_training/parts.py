"""The networks of the shipped prior, in the classes of diffusers and transformers.

Autoencoder: factor 2, four latent channels (32x32 pictures, 16x16 latents). U-Net: three levels of 32, 64 and 128
channels, cross-attention at the lowest, and the pooled text added to the time embedding of every residual block, so
that a class word reaches all of a small network. Text: CLIP's layout with a vocabulary made from the captions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

LATENT = (4, 16, 16)
TEXT_WIDTH = 64
TEXT_LENGTH = 16
START, END = "<|startoftext|>", "<|endoftext|>"


def new_autoencoder(width: int = 32) -> AutoencoderTiny:
    """A factor-2 autoencoder with fresh weights."""
    return AutoencoderTiny(
        latent_channels=LATENT[0],
        encoder_block_out_channels=(width, width),
        decoder_block_out_channels=(width, width),
        num_encoder_blocks=(1, 2),
        num_decoder_blocks=(2, 1),
        act_fn="relu",
        upsample_fn="nearest",
        force_upcast=False,
    )


def new_unet(channels: Sequence[int] = (32, 64, 128), dropout: float = 0.0, heads: int = 4) -> UNet2DConditionModel:
    """A U-Net on latents with fresh weights; cross-attention at its lowest level."""
    plain = len(channels) - 1
    settings: dict[str, Any] = {
        "sample_size": LATENT[1],
        "in_channels": LATENT[0],
        "out_channels": LATENT[0],
        "block_out_channels": tuple(channels),
        "down_block_types": ("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",) + ("UpBlock2D",) * plain,
        "layers_per_block": 1,
        "cross_attention_dim": TEXT_WIDTH,
        "attention_head_dim": heads,  # of this class it is the number of heads, whatever its name says
        "norm_num_groups": 16,
        "resnet_time_scale_shift": "scale_shift",
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 4,
        "dropout": dropout,
    }
    return UNet2DConditionModel(**settings)


def new_scheduler() -> DDIMScheduler:
    """The noise schedule: DDPM's linear one, velocity prediction, sampled from the last step down."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
    )


def new_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """CLIP's byte-level tokenizer with merges learned from ``captions``, in which each of their words is one token.

    All 256 bytes are in the vocabulary, inside a word and at its end: any other prompt is spelled out.
    """
    learned = CLIPTokenizer().train_new_from_iterator(sorted(set(captions)), vocab_size=2000, show_progress=False)
    merges = [tuple(pair) for pair in json.loads(learned.backend_tokenizer.to_str())["model"]["merges"]]
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(dict.fromkeys(tokens))},
        merges=merges,
        model_max_length=TEXT_LENGTH,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text transformer with fresh weights, two layers of width 64 over ``tokenizer``'s vocabulary."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=TEXT_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
