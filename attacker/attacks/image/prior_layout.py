"""What a prior's folder says of itself, read and checked without its networks: the same before a stream as when it is
loaded.

A U-Net of this layout is convolutional and attends without positions: it takes latents of any side. Where a level's
side is odd, its way up is cut to the side of the way down, by the U-Net itself; nothing is padded here. Pictures larger
than those of its training are refused, because a U-Net repeats there what it would draw once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from attacker.attacks.image.autoencoder import autoencoder_shape
from attacker.attacks.image.folder import config, first_line, stored
from attacker.attacks.image.quiet import quiet
from wire.errors import InputError

PREDICTIONS = ("epsilon", "v_prediction")

POSITIONS = 77
"""Of CLIP's text encoder, where its configuration does not say."""


@dataclass(frozen=True)
class Layout:
    """channels: of a latent. factor: side of a picture over side of its latent. trained: side of the latents that the
    U-Net was trained on. positions: most tokens that the text encoder takes. schedule: of the scheduler, as written."""

    folder: Path
    channels: int
    factor: int
    trained: int
    positions: int
    schedule: Mapping[str, Any]

    @property
    def side(self) -> int:
        """Of the pictures that it was trained on, in pixels: the largest that it makes."""
        return self.trained * self.factor

    @property
    def steps(self) -> int:
        """The most that can be sampled."""
        levels = int(self.schedule.get("num_train_timesteps", 1000))
        leading = self.schedule.get("timestep_spacing", "leading") == "leading"
        return levels - (int(self.schedule.get("steps_offset", 0)) if leading else 0)

    def misfit(self, height: int, width: int) -> str:
        """Why it makes no pictures of ``height`` and ``width`` pixels; empty where it does."""
        asked = f"asked for {width}x{height}"
        if height != width:
            return f"{self.folder}: a diffusion prior makes square pictures; {asked}"
        if height < 1 or height % self.factor:
            return f"{self.folder}: makes pictures whose side is a multiple of {self.factor} pixels; {asked}"
        if height > self.side:
            return f"{self.folder}: makes pictures of at most {self.side}x{self.side} pixels; {asked}"
        return ""

    def latent(self, side: int) -> tuple[int, int, int]:
        """Shape (C, h, w) of the noise of one picture of ``side`` pixels. InputError where it makes none such."""
        if why := self.misfit(side, side):
            raise InputError(why)
        return self.channels, side // self.factor, side // self.factor

    def tokenizer(self) -> Any:
        """The folder's own. InputError where it cannot be read."""
        folder = self.folder / "tokenizer"
        try:
            with quiet():
                return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # the tokenizers' library raises nothing more particular
            raise InputError(f"{folder}: not readable as a CLIP tokenizer ({first_line(error)})") from error

    def check(self, size: tuple[int, int], steps: int, prompts: Sequence[str]) -> None:
        """InputError, one line, where it makes no pictures of ``size`` (height and width in pixels), does not sample in
        so many ``steps``, or takes no prompt of that length; empty ones are no text."""
        if why := self.misfit(*size):
            raise InputError(why)
        check_steps(steps, self.steps, self.folder.name)
        tokenizer = self.tokenizer()
        check_prompts([p for p in prompts if p], tokenizer, length_of(tokenizer, self.positions), self.folder.name)


def layout_of(folder: Path) -> Layout:
    """The layout of ``folder``: that of diffusers, with vae, unet, scheduler, text_encoder and tokenizer.

    InputError, one line, names what is missing or does not fit.
    """
    if not folder.is_dir():
        raise InputError(f"prior {folder}: no such folder; accepted: a folder in the diffusers layout")
    schedule = config(folder, "scheduler", "scheduler_config.json")
    unet, text = config(folder, "unet"), config(folder, "text_encoder")
    prediction = schedule.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise InputError(f"{folder}: its scheduler predicts {prediction!r}; accepted: {', '.join(PREDICTIONS)}")
    added = unet.get("addition_embed_type")
    if added not in (None, "text"):
        raise InputError(f"{folder}: its U-Net wants {added!r} beside the text; accepted: U-Nets that take text alone")
    if not (folder / "tokenizer").is_dir():
        raise InputError(f"{folder}: holds no tokenizer; accepted: a folder in the diffusers layout")
    shape = autoencoder_shape(folder, "vae")
    takes, gives = unet.get("in_channels"), shape.channels
    if takes != gives:
        raise InputError(f"{folder}: its U-Net takes latents of {takes} channels, its autoencoder makes {gives}")
    width, words = unet.get("cross_attention_dim"), text.get("hidden_size")
    if width != words:
        raise InputError(f"{folder}: its U-Net takes text of width {width}, its text encoder gives {words}")
    trained = unet.get("sample_size")
    if not isinstance(trained, int) or trained < 1:
        raise InputError(f"{folder}: its U-Net's sample_size is {trained!r}; accepted: the side of a square latent")
    for part, kind in (("unet", "UNet2DConditionModel"), ("text_encoder", "CLIPTextModel")):
        stored(folder, part, kind)
    positions = int(text.get("max_position_embeddings", POSITIONS))
    return Layout(folder, gives, shape.factor, trained, positions, schedule)


def length_of(tokenizer: Any, positions: int) -> int:
    """How many tokens a prompt may have, its start and end included."""
    return int(min(tokenizer.model_max_length, positions))


def check_prompts(prompts: Sequence[str], tokenizer: Any, length: int, name: str) -> None:
    """InputError names the first prompt of more than ``length`` tokens. name: of the prior."""
    for prompt in prompts:
        tokens = len(tokenizer(prompt, truncation=False, verbose=False).input_ids)
        if tokens > length:
            raise InputError(
                f"prompt {prompt!r} has {tokens} tokens with its start and end; {name} accepts at most {length}"
            )


def check_steps(steps: int, most: int, name: str) -> None:
    """InputError for a number of sampling steps that is not 1 to ``most``. name: of the prior."""
    if not 1 <= steps <= most:
        raise InputError(f"{steps} sampling steps; {name} accepts 1 to {most}")
