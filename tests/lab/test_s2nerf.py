"""The studies of radiance fields: what they would train and grant, and what their tables say of recorded figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attacker.registry import attack as registered
from lab.axes import trials
from lab.over_seeds import Spread
from lab.studies.base import Cell, Settings
from lab.studies.links import cells_of
from lab.studies.radiance import FLOORS, STRONGER, SURROGATES, UNTRAINED, samples
from lab.studies.registry import study
from lab.studies.s2nerf_defense import KNOWING
from lab.studies.s2nerf_scene_aided import DEAF, REFINED
from lab.studies.s2nerf_sheets import verdict
from victims.radiance.victim import SPLITNERF
from wire.errors import InputError

STUDIES = ("s2nerf-utility", "s2nerf-surrogate", "s2nerf-scene-aided", "s2nerf-defense")
TINY = {"steps": 12, "side": 8, "views": 6, "rays": 4, "samples": 4, "curve": 3}


def cells(name: str, **options: object) -> list[Cell]:
    return list(cells_of(study(name), Settings(options={**TINY, **options})))


@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_entitles_its_attacks_and_no_more_vantage_than_they_need(name: str) -> None:
    for cell in cells(name, seeds=1):
        needs = [registered(attack.name).needs for attack in cell.stream.attacks]
        assert not [refused for need in needs for refused in cell.stream.knowledge.entitles(need)]
        assert cell.stream.knowledge.vantage in {need.vantage for need in needs}
        assert cell.stream.knowledge.victim in {need.victim for need in needs}
        assert len({attack.row for attack in cell.stream.attacks}) == len(cell.stream.attacks)


@pytest.mark.parametrize("name", STUDIES)
def test_ids_tell_cells_apart_and_references_come_first(name: str) -> None:
    found = cells(name, seeds=2)
    assert len({cell.id for cell in found}) == len({cell.title for cell in found}) == len(found)
    for number, cell in enumerate(found):
        assert not cell.reference or cell.reference in {before.id for before in found[: number + 1]}


def test_a_cell_counts_the_samples_that_its_stream_makes() -> None:
    cell = cells("s2nerf-surrogate", seeds=1)[0]
    stream = cell.stream
    made = list(SPLITNERF.samples(stream.source, {**stream.victim_settings, "frames": 0}))
    assert stream.frames == len(made) == 12 + 3  # the one held-out view of six: after 4, 8 and 12 steps
    assert stream.frames == samples(stream.victim_settings, 1)


def test_each_seed_is_a_training_of_its_own() -> None:
    found = cells("s2nerf-surrogate", seeds=3)
    assert [cell.stream.seed for cell in found] == [0, 1, 2]
    assert [cell.stream.victim_settings["seed"] for cell in found] == [0, 1, 2]
    assert [cell.stream.attacks[0].settings["victim_seed"] for cell in found] == [0, 1, 2]
    assert [attack.row for attack in found[0].stream.attacks] == [*SURROGATES, *STRONGER, *FLOORS]


def test_attacks_are_told_what_is_public_and_no_seed_of_the_edge() -> None:
    for name in STUDIES:
        for attack in cells(name, seeds=1)[-1].stream.attacks:
            assert attack.settings["views"] == 5
            assert attack.settings["victim_steps"] == 12
            assert "victim_edge_seed" not in attack.settings
            assert not attack.files


def test_settings_reach_the_attack_they_name() -> None:
    found = cells("s2nerf-surrogate", seeds=1, **{"surrogate.weight": 0.5, "surrogate-fit.share": 1.0})[0]
    rows = {attack.row: attack.settings for attack in found.stream.attacks}
    assert rows["surrogate"]["weight"] == 0.5
    assert rows["surrogate-fit"]["share"] == 1.0
    assert "weight" not in rows["surrogate-fit"]
    assert rows["surrogate"]["share"] == rows["surrogate-replay"]["share"] == 0.25


def test_every_cut_and_precision_has_its_unsplit_twin() -> None:
    told = [(cell.stream.split, cell.stream.victim_settings["precision"]) for cell in cells("s2nerf-utility")]
    assert told == [("mid", "float32"), ("grid", "float32"), ("light", "float32"), ("mid", "bfloat16")]
    assert [c.stream.split for c in cells_of(study("s2nerf-utility"), Settings(splits=("light",), options=TINY))] == [
        "light",
        "light",
    ]


def test_the_defenses_are_a_grid_and_comparisons_each_beside_the_same_training_without() -> None:
    found = cells("s2nerf-defense", seeds=1, c="1.2,9.6", r="0.0001,1", variants="partial,chunk")
    defenses = [(cell.stream.defense, dict(cell.stream.defense_settings)) for cell in found]
    grid = [("gradient-norm-noise", {"c": c, "r": r}) for c in (1.2, 9.6) for r in (1e-4, 1.0)]
    variants = [("gradient-norm-noise", {"mode": "partial"}), ("gradient-norm-noise", {"scope": "chunk"})]
    others = [("label-noise", {"std": 8.0}), ("gradient-clip", {"norm": "median"})]
    assert defenses == [("none", {}), *grid, *variants, *others]
    assert {cell.reference for cell in found} == {found[0].id}
    for cell, (name, settings) in zip(found, defenses, strict=True):
        card, rows = cell.stream.knowledge, [attack.row for attack in cell.stream.attacks]
        assert (card.defense_name, dict(card.defense_settings)) == ("" if name == "none" else name, settings)
        weigh, late, drop = {"surrogate-weighted", "surrogate-both"}, {"surrogate-late"}, {"surrogate-dropping"}
        if name == "none":
            left_out = weigh | drop
        elif name != "gradient-norm-noise":
            left_out = weigh | late | drop
        elif settings.get("mode") == "partial":
            left_out = weigh | late
        else:
            left_out = drop | (late if settings.get("r") == 1 else set())
        assert set(KNOWING) - set(rows) == left_out
        assert {"surrogate", "surrogate-solved", UNTRAINED} <= set(rows)


@pytest.mark.parametrize(
    ("given", "clips"), [(False, False), ("no", False), ("False", False), (True, True), ("yes", True)]
)
def test_clipping_may_be_left_out(given: object, clips: bool) -> None:
    found = {cell.stream.defense for cell in cells("s2nerf-defense", seeds=1, c=1.2, r=1, std=8, clip=given)}
    assert ("gradient-clip" in found) == clips


def test_each_scene_aided_row_names_how_many_pictures_it_gets() -> None:
    found = cells("s2nerf-scene-aided", seeds=1, leaks="1,4")[0]
    assert found.columns["given"] == {"scene-aided": 1, "scene-aided-4": 4, REFINED: 1, DEAF: 1}
    assert found.stream.knowledge.leaks == ("1 training views with their poses", "4 training views with their poses")
    poses = {attack.row: attack.settings.get("pose") for attack in found.stream.attacks}
    assert poses == {
        "scene-aided": "known", "scene-aided-4": "known", REFINED: "refined", DEAF: "known", "surrogate": None,
        **dict.fromkeys(FLOORS),
    }  # fmt: skip


def test_the_demo_turns_one_knob_of_the_defense_that_is_named() -> None:
    demo = study("demo-radiance")
    tiny = {key: value for key, value in TINY.items() if key != "curve"}

    def defended(**options: object) -> tuple[str, dict[str, object]]:
        stream = demo.cells(Settings(options={**tiny, **options}))[0].stream
        return stream.defense, dict(stream.defense_settings)

    assert defended() == ("none", {})
    assert defended(defense="gradient-norm-noise", strength=9.6) == ("gradient-norm-noise", {"strength": 9.6})
    assert defended(defense="label-noise", strength=2) == ("label-noise", {"strength": 2.0})
    assert defended(defense="gradient-clip") == ("gradient-clip", {})
    with pytest.raises(InputError, match="defense 'magic' does not exist"):
        defended(defense="magic")
    for key, value in (("strength", "abc"), ("strength", True), ("rate_hz", "fast"), ("rate_hz", 0)):
        with pytest.raises(InputError, match=f"^--set {key}={value}; accepted: a number"):
            defended(defense="label-noise", **{key: value})
    assert demo.cells(Settings(options={**tiny, "rate_hz": 3}))[0].stream.rate_hz == 3.0


@pytest.mark.parametrize("name", [*STUDIES, "demo-radiance"])
def test_a_gpu_that_is_asked_for_is_refused_and_one_that_is_there_left_alone(name: str) -> None:
    options = {key: value for key, value in TINY.items() if name != "demo-radiance" or key != "curve"}
    with pytest.raises(InputError, match=r"^--device cuda: radiance runs on the CPU, .*; accepted: auto, cpu$"):
        study(name).cells(Settings(device="cuda", options=options))
    with pytest.raises(InputError, match=r"^--over device=cuda: --device cuda: radiance runs on the CPU"):
        trials(study(name), Settings(device_named=False, options=options), ["device=cuda"])
    found = study(name).cells(Settings(device="cuda", device_named=False, options={**options, "seeds": 1}))
    assert {cell.stream.device for cell in found} == {"cpu"}


def test_a_folder_is_a_scene(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no posed pictures"):
        study("s2nerf-surrogate").cells(Settings(data=(tmp_path,), options=TINY))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("s2nerf-surrogate", {"stepz": 4}, "--set stepz: no option of this study; there are: seeds, attacks"),
        ("s2nerf-surrogate", {"attacks": "surrogate,direct"}, "--set attacks=direct: no attack of this study"),
        ("s2nerf-surrogate", {"direct.weight": 1}, "--set direct.weight: no option"),
        ("s2nerf-surrogate", {"surrogate.nonsense": 1}, "attack surrogate: setting 'nonsense' is unknown"),
        ("s2nerf-surrogate", {"surrogate-solved.decay": "often"}, "attack surrogate-solved: setting decay is 'often'"),
        ("s2nerf-scene-aided", {"scene-aided.pose": "found"}, "attack scene-aided: setting pose is 'found'"),
        ("s2nerf-defense", {"variants": "loud"}, "--set variants=loud; accepted: partial, mix, chunk, or none"),
        ("s2nerf-surrogate", {"seeds": 0}, "--set seeds=0; accepted: a whole number from 1"),
        ("s2nerf-surrogate", {"rays": 0}, "setting rays is 0"),
        ("s2nerf-utility", {"precisions": "float16"}, "--set precisions=float16; accepted: float32, bfloat16"),
        ("s2nerf-defense", {"c": "much"}, "--set c=much; accepted: numbers"),
        ("s2nerf-defense", {"clip": "maybe"}, "--set clip=maybe; accepted: true, false, yes, no"),
        ("s2nerf-defense", {"clip": 2}, "--set clip=2; accepted: true, false, yes, no"),
        ("s2nerf-defense", {"r": 2}, "r is 2.0; accepted"),
        ("s2nerf-defense", {"mode": "some"}, "mode is 'some'; accepted"),
        ("s2nerf-scene-aided", {"leaks": "1,x"}, "--set leaks=1,x; accepted: whole numbers"),
        ("s2nerf-scene-aided", {"leaks": 9}, "--set leaks=9; accepted: 1 to 5 pictures"),
    ],
)
def test_a_wrong_setting_is_one_line(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        cells(name, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def spreads(psnr: float, ssim: float, half: float = 0.01) -> dict[str, Spread | None]:
    one, other = Spread(psnr, psnr - half, psnr + half, 3), Spread(ssim, ssim - half, ssim + half, 3)
    return {"psnr": one, "psnr_affine": one, "ssim": other, "ssim_affine": other}


def test_no_information_is_said_only_where_every_upper_bound_is_small() -> None:
    assert verdict(spreads(0.1, 0.0)) == "no information"
    assert verdict(spreads(-5.0, -0.5)) == "no information"
    assert verdict(spreads(0.28, 0.0)) == "no information"
    assert verdict(spreads(0.3, 0.0)) != "no information"
    assert verdict(spreads(0.0, 0.011)) == "above in SSIM, SSIM, colours fitted"
    assert verdict(spreads(2.0, 0.2)) == "above"
    assert verdict(spreads(0.0, 0.0, half=0.5)) == "not told apart"
    few = {name: replace(found, low=None, high=None) for name, found in spreads(1, 1).items() if found}
    assert verdict({**spreads(0, 0), **few}) == "too few seeds"
    assert verdict({**spreads(0, 0), "psnr": None}) == "too few seeds"
