"""The tokenizer: one token a word of the captions, any other prompt spelled out, the same after a save."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from attacker.attacks.image.prior_training.captions import COLOURS, all_captions
from attacker.attacks.image.prior_training.parts import TEXT_LENGTH, new_tokenizer, new_unet
from victims.image.cifar import CLASSES


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return new_tokenizer(all_captions())


def test_words_of_the_captions_are_one_token_each(tokenizer: CLIPTokenizer) -> None:
    for word in [*CLASSES, *" ".join(COLOURS).split(), "photo", "background", "an", "a", "of"]:
        assert len(tokenizer.tokenize(word)) == 1, word
    longest = max(len(tokenizer(text).input_ids) for text in all_captions())
    assert longest == 11 <= TEXT_LENGTH  # start, a photo of a cat , dark blue background, end


def test_saved_and_read_again_it_gives_the_same_numbers(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path, local_files_only=True)
    texts = [*all_captions(), "a zebra before Zürich, 日本"]
    assert again(texts).input_ids == tokenizer(texts).input_ids
    assert again.model_max_length == TEXT_LENGTH


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20))
def test_no_letter_is_ever_lost(tokenizer: CLIPTokenizer, text: str) -> None:
    # Every byte is in the vocabulary, so that nothing inside a prompt becomes the unknown token, which is also the end.
    if "<|" in text:
        return
    assert tokenizer.unk_token_id not in tokenizer(text).input_ids[1:-1]


def test_heads_are_heads() -> None:
    unet = new_unet((16, 32), heads=4)
    attention = unet.down_blocks[-1].attentions[0].transformer_blocks[0].attn2
    assert attention.heads == 4 and attention.to_q.out_features == 32
