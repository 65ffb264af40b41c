"""The role file and the registry: what is wrong is named in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attacker import registry
from attacker.config import AttackerConfig
from wire.errors import InputError
from wire.rolefile import parse, read

BASE = {"mirror": "127.0.0.1:0", "folder": Path("run")}


def test_a_role_file_with_everything(tmp_path: Path) -> None:
    path = tmp_path / "attacker.toml"
    path.write_text(
        """
        mirror = "127.0.0.1:7000"
        folder = "runs/x"
        mode = "lossless"
        queue_frames = 4
        record = "heads"
        record_gb = 0.5
        [knowledge]
        vantage = "cloud"
        victim = "white"
        defense = "aware"
        defense_name = "gaussian"
        defense_settings = {sigma = 0.5}
        [[attacks]]
        name = "coordinates"
        files = {weights = "w.safetensors"}
        settings = {preset = "tiny", range = [0.0, 1.5]}
        """
    )
    config = read(AttackerConfig, path)
    assert config.record_bytes == 1 << 29
    assert config.attacks[0].files == {"weights": Path("w.safetensors")}
    assert config.attacks[0].settings == {"preset": "tiny", "range": [0.0, 1.5]}
    assert (config.card.vantage, config.card.defense_settings) == ("cloud", {"sigma": 0.5})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mirror": None}, "exactly one of mirror"),
        ({"capture": Path("c")}, "exactly one of mirror"),
        ({"workers": 0}, "workers"),
        ({"queue_frames": 0}, "queue_frames"),
        ({"mode": "fast"}, "mode"),
        ({"record": "some"}, "record"),
        ({"record_gb": 0}, "record_gb"),
        ({"unheard": 1}, "unheard"),
        ({"attacks": [{"name": "a"}, {"name": "a"}]}, "'a' is given twice"),
    ],
)
def test_what_is_not_accepted_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(AttackerConfig, {**BASE, **change}, "attacker.toml")


def test_a_card_that_says_nonsense_is_named() -> None:
    with pytest.raises(InputError, match="vantage is 'moon'"):
        parse(AttackerConfig, {**BASE, "knowledge": {"vantage": "moon"}}, "attacker.toml").card  # noqa: B018


def test_every_registered_attack_can_be_had_and_is_called_so() -> None:
    for name in registry.ATTACKS:
        assert registry.attack(name).name == name


def test_an_unknown_attack_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"attack 'x' does not exist; there are: .*coordinates"):
        registry.attack("x")
