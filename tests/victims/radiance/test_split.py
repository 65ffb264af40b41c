"""Split training against the same training in one process, and everything that must not change the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from lab.bench_memory import peak_bytes
from tests.contract.victim import check_victim
from tests.victims.radiance.exchanging import SMALL, exchange
from victims.base import Sample, State
from victims.radiance import tail as tail_room
from victims.radiance.batch import batch_of, rendering_sample, training_samples
from victims.radiance.head import RadianceHead
from victims.radiance.networks import SPLITS, embedding_width, parts
from victims.radiance.room import room
from victims.radiance.scene import Scene
from victims.radiance.settings import Training
from victims.radiance.tail import RadianceTail
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF
from victims.registry import victim
from wire.dtypes import to_bytes
from wire.errors import DecodeError, InputError
from wire.payload import Payload


@pytest.fixture(scope="module")
def scene() -> Scene:
    return room(0, side=16, views=5)


@pytest.fixture(scope="module")
def samples(scene: Scene) -> list[Sample]:
    return list(training_samples(scene, SMALL))[:6]


def ends(split: str = "mid", settings: Training = SMALL) -> tuple[RadianceHead, RadianceTail]:
    cloud, edge = parts(split, settings)
    return RadianceHead(edge, settings, embedding_width(split, settings)), RadianceTail(cloud, settings)


def weights(*of: RadianceHead | RadianceTail | Unsplit) -> dict[str, torch.Tensor]:
    """Every weight, moment and count."""
    found: dict[str, torch.Tensor] = {}
    for end in of:
        states = end.states() if isinstance(end, Unsplit) else (end.state(),)
        for state in states:
            found |= {**state.tensors, f"done.{len(found)}": torch.tensor(state.meta["done"])}
    return found


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return sorted(one) == sorted(two) and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("split", SPLITS)
def test_split_training_equals_unsplit_training_bit_for_bit(split: str, samples: list[Sample]) -> None:
    head, tail = ends(split)
    whole = Unsplit(*parts(split, SMALL), SMALL)
    for sample in samples:
        outcome, left = exchange(head, tail, sample)
        assert float(outcome.arrays["loss"]) == np.float32(whole.step(sample))
        assert [p.role for p in left] == ["rays"] * 3 + ["gradients"] * 3
    assert equal(weights(tail, head), weights(whole))
    assert tail.done == head.done == 6


def test_a_picture_is_rendered_across_the_wire(scene: Scene, samples: list[Sample]) -> None:
    head, tail = ends()
    whole = Unsplit(*parts("mid", SMALL), SMALL)
    exchange(head, tail, samples[0])
    whole.step(samples[0])
    before = weights(head, tail)
    asked = rendering_sample(scene, scene.testing[0].camera, "view")
    outcome, left = exchange(head, tail, asked)
    image, depth = whole.picture(asked)
    assert np.array_equal(outcome.arrays["image"], image.numpy()) and image.shape == (16, 16, 3)
    assert np.array_equal(outcome.arrays["depth"], depth.numpy()) and depth.shape == (16, 16)
    assert {p.role for p in left} == {"rays"} and equal(before, weights(head, tail))


def test_no_pixel_leaves_the_edge(samples: list[Sample]) -> None:
    """Every private pixel is changed: what left before the loss is the same byte for byte, and so is what came back."""
    negative = replace(samples[2], arrays={**samples[2].arrays, "colours": 1 - samples[2].arrays["colours"]})
    sent, answered = [], []
    for sample in (samples[2], negative):
        head, tail = ends()
        for earlier in samples[:2]:
            exchange(head, tail, earlier)
        down: list[bytes] = []

        class Heard:
            accepts = tail.accepts

            def reply(self, payload: Payload, tail: RadianceTail = tail, down: list[bytes] = down) -> Payload:
                reply = tail.reply(payload)
                down += [to_bytes(t).tobytes() for t in reply.tensors.values()] + [repr(reply.meta).encode()]
                return reply

        _, left = exchange(head, Heard(), sample)
        sent.append(
            [(p.role, p.layout, dict(p.meta), [to_bytes(t).tobytes() for t in p.tensors.values()]) for p in left]
        )
        answered.append(down)
    assert answered[0] == answered[1]
    assert sent[0][:3] == sent[1][:3]
    assert [one[:3] for one in sent[0][3:]] == [two[:3] for two in sent[1][3:]]  # gradients: names, shapes, meta
    assert all(one[3] != two[3] for one, two in zip(sent[0][3:], sent[1][3:], strict=True))
    assert {tuple(p.tensors) for p in left} == {("pose", "pixels"), ("gradients",)}


def test_doing_the_forward_pass_again_changes_nothing(samples: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ends()
    for sample in samples[:3]:
        exchange(*kept, sample)
    monkeypatch.setattr(tail_room, "KEPT_POINTS", 400)  # the first part alone
    again = ends()
    for sample in samples[:3]:
        exchange(*again, sample)
    assert equal(weights(*kept), weights(*again))


def test_the_cloud_keeps_the_places_of_a_steps_samples_and_few_embeddings(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample's place is 12 bytes, its embedding 256, and what leads to it more. Parts are handed over one by one."""

    def peak(rays: int, kept: int) -> int:
        settings = replace(SMALL, rays=rays)
        monkeypatch.setattr(tail_room, "KEPT_POINTS", kept)
        tail = RadianceTail(parts("mid", settings)[0], settings)
        chunks = batch_of(next(iter(training_samples(scene, settings)))).chunks(settings.chunk_rays)
        asked = [chunk.payload(part, len(chunks)) for part, chunk in enumerate(chunks)]

        def step() -> None:
            for payload in asked:
                tail.reply(payload)
            for part, chunk in enumerate(chunks):
                rows = torch.full((len(chunk), settings.samples, 64), 1e-6)
                meta = {"step": 0, "part": part, "parts": len(chunks)}
                tail.reply(Payload("gradients", "gradients", {"gradients": rows}, meta))
            assert tail.done == 1

        step()  # the optimiser's moments
        tail.load(State({**tail.state().tensors}, {"done": 0}))
        return peak_bytes(step)

    few, many, all_kept = peak(64, 400), peak(256, 400), peak(256, 1 << 17)
    points = (256 - 64) * SMALL.samples
    assert 12 * points <= many - few < 20 * points
    assert all_kept - many > 256 * points


def test_a_rollback_is_replayed_exactly(scene: Scene, samples: list[Sample]) -> None:
    head, tail = ends()
    for sample in samples[:3]:
        exchange(head, tail, sample)
    saved = head.state(), tail.state()
    for sample in samples[3:]:
        exchange(head, tail, sample)
    wanted = weights(head, tail)
    other = replace(SMALL, seed=9, edge_seed=9)  # weights of other seeds, which the states replace
    cloud, edge = parts("mid", other)
    fresh = RadianceHead(edge, SMALL, 64), RadianceTail(cloud, SMALL)
    for end, state in zip(fresh, saved, strict=True):
        end.load(state)
    assert (fresh[0].done, fresh[1].done) == (3, 3)
    for sample in list(training_samples(scene, SMALL, first=3))[:3]:
        exchange(*fresh, sample)
    assert equal(weights(*fresh), wanted)
    # Back again in the same process, from the middle of a step.
    next(head.exchange(samples[5]))
    for end, state in zip((head, tail), saved, strict=True):
        end.load(state)
    for sample in samples[3:]:
        exchange(head, tail, sample)
    assert equal(weights(head, tail), wanted)


def test_a_state_of_another_network_is_refused_and_changes_nothing(samples: list[Sample]) -> None:
    head, tail = ends()
    before = weights(head, tail)
    exchange_ends = ends("grid")
    with pytest.raises(
        InputError, match=r"^state: 1 tensors missing or unexpected, the first 'weight\.first\.weight'$"
    ):
        tail.load(exchange_ends[1].state())
    small = State({"weight.first.weight": torch.zeros(64, 9), "weight.grid.table": tail.part.grid.table}, {"done": 1})
    with pytest.raises(
        InputError, match=r"first\.weight is torch\.float32 \(64, 9\); accepted: torch\.float32 \(64, 8\)$"
    ):
        tail.load(small)
    with pytest.raises(InputError, match=r"^state: done is None; accepted: a whole number from 0$"):
        head.load(State({}, {}))
    assert equal(before, weights(head, tail))


def _swap(number: int, change: object) -> object:
    return lambda turn, parts: change(list(parts)) if turn == number else parts  # type: ignore[operator]


def _gradients(parts: Sequence[Payload], part: int, tensor: torch.Tensor) -> list[Payload]:
    return [replace(p, tensors={"gradients": tensor}) if i == part else p for i, p in enumerate(parts)]


def _nan(parts: list[Payload]) -> list[Payload]:
    broken = parts[2].tensors["gradients"].clone()
    broken[3, 2, 1] = torch.nan
    return _gradients(parts, 2, broken)


def _huge(parts: list[Payload]) -> list[Payload]:
    """Each part is fine by itself, their sum is not."""
    return [replace(p, tensors={"gradients": torch.full_like(p.tensors["gradients"], 9e17)}) for p in parts]


def _narrow(parts: list[Payload]) -> list[Payload]:
    return _gradients(parts, 1, parts[1].tensors["gradients"][:, :, :63].contiguous())


def _meta(parts: list[Payload], part: int, **meta: int) -> list[Payload]:
    return [replace(p, meta={**p.meta, **meta}) if i == part else p for i, p in enumerate(parts)]


@pytest.mark.parametrize(
    ("turn", "change", "line"),
    [
        (1, _nan, "gradients: 1 of 12288 values of gradients are not finite or beyond 1e+18"),
        (1, _huge, r"step 1: the gradient of grid.table is not finite or beyond 1e+18"),
        (1, _narrow, "gradients of step 1, part 1: (32, 12, 63); accepted: (32, 12, 64)"),
        (
            1,
            lambda p: _meta(p, 0, step=0),
            "gradients of step 0, part 0 of 3; accepted: step 1, part 0 of 3",
        ),
        (1, lambda p: [p[0], p[0]], "gradients of step 1, part 0 of 3; accepted: step 1, part 1 of 3"),
        (1, lambda p: [p[0], p[2]], "gradients of step 1, part 2 of 3; accepted: step 1, part 1 of 3"),
        (0, lambda p: _meta(p, 0, step=0), "rays of step 0; steps to 0 are done, accepted: from 1"),
        (0, lambda p: _meta(p, 1, step=2), "rays of step 2, part 1 of 3; accepted: step 1, part 1 of 3"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_leaves_the_weights(
    turn: int, change: object, line: str, samples: list[Sample]
) -> None:
    head, tail = ends()
    exchange(head, tail, samples[0])
    before = weights(head, tail)
    with pytest.raises(DecodeError) as caught:
        exchange(head, tail, samples[1], _swap(turn, change))  # type: ignore[arg-type]
    assert str(caught.value) == line
    assert equal(before, weights(head, tail))
    # The failed step leaves nothing behind: taken again, the training goes on as if it had not happened.
    untouched = ends()
    for sample in samples[:2]:
        exchange(*untouched, sample)
    exchange(head, tail, samples[1])
    assert equal(weights(*untouched), weights(head, tail))


def test_gradients_without_rays_and_replies_of_another_step() -> None:
    _, tail = ends()
    meta = {"step": 0, "part": 0, "parts": 1}
    with pytest.raises(DecodeError, match=r"^gradients of step 0, part 0 of 1; no step waits for gradients$"):
        tail.reply(Payload("gradients", "gradients", {"gradients": torch.zeros(1, 12, 64)}, meta))
    with pytest.raises(DecodeError, match=r"^layout 'embeddings' is not for the cloud; accepted: gradients, rays$"):
        tail.reply(Payload("embeddings", "embeddings", {}, meta))


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (("acknowledgement", {}), "step 0: the cloud replied acknowledgement; accepted: embeddings"),
        (
            ("embeddings", {"embeddings": torch.zeros(32, 12, 16), "distances": torch.zeros(32, 12)}),
            "embeddings of step 0, part 0: (32, 12, 16); accepted: (32, 12, 64)",
        ),
    ],
)
def test_a_cloud_that_replies_something_else(
    reply: tuple[str, dict[str, torch.Tensor]], line: str, samples: list[Sample]
) -> None:
    class Other:
        accepts = RadianceTail.accepts

        def reply(self, payload: Payload) -> Payload:
            role = "result" if reply[0] == "acknowledgement" else "embeddings"
            return Payload(role, *reply, {"step": 0, "part": 0, "parts": 3})

    head, _ = ends()
    before = weights(head)
    with pytest.raises(DecodeError) as caught:
        exchange(head, Other(), samples[0])
    assert str(caught.value) == line and equal(before, weights(head))


def test_sixteen_bits_on_the_wire(samples: list[Sample]) -> None:
    half = replace(SMALL, precision="bfloat16")
    exact, rounded = ends(), ends(settings=half)
    for sample in samples[:2]:
        full = exchange(*exact, sample)
        short = exchange(*rounded, sample)
    sizes = [sum(p.nbytes for p in left if p.role == "gradients") for _, left in (full, short)]
    assert sizes[0] == 2 * sizes[1] == 80 * 12 * 64 * 4
    losses = [float(o.arrays["loss"]) for o, _ in (full, short)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def test_a_step_is_the_same_whenever_it_is_taken(scene: Scene, samples: list[Sample]) -> None:
    later = next(iter(training_samples(scene, SMALL, first=4)))
    assert later.digest() == samples[4].digest() and dict(later.meta) == dict(samples[4].meta)
    assert len({s.digest() for s in samples}) == 6
    # An epoch shows every training picture once.
    assert sorted(int(s.meta["view"]) for s in samples[:4]) == [0, 1, 2, 3]
    chosen = samples[1]
    picture = scene.training[int(chosen.meta["view"])].image.reshape(-1, 3)
    assert np.array_equal((chosen.arrays["colours"] * 255).round(), picture[chosen.arrays["pixels"]])
    box = np.array(chosen.meta["box"])
    assert np.allclose(box, np.array([-2.55, -2.15, -1.4, 2.55, 2.15, 1.4]) / 2.55)  # 0.15 m behind every wall
    assert (np.abs(chosen.arrays["pose"][:, 3]) < box[3:]).all()  # cameras stand inside the room


def test_samples_that_are_no_batch(samples: list[Sample]) -> None:
    with pytest.raises(InputError, match=r"^x: no radiance batch: pixels, pose, box, .* missing$"):
        batch_of(Sample("x", {}))
    bad = replace(samples[0], arrays={**samples[0].arrays, "colours": np.zeros((3, 3), np.float32)})
    with pytest.raises(InputError, match=r"^step-000000: colours \(3, 3\); accepted: \(80, 3\), or none$"):
        batch_of(bad)
    bad = replace(samples[0], arrays={**samples[0].arrays, "pose": np.ones((3, 4), np.float32)})
    with pytest.raises(InputError, match=r"^step-000000: the pose is no rigid transform: its axes miss"):
        batch_of(bad)


SETTINGS = {"rays": 40, "samples": 8, "levels": 2, "rows_log2": 8, "steps": 5, "seed": 1}


@pytest.mark.parametrize("split", SPLITS)
def test_the_contract(split: str) -> None:
    assert victim("splitnerf") is SPLITNERF
    sample = next(SPLITNERF.samples("procedural", {**SETTINGS, "side": 16, "views": 3}))
    outcomes = check_victim(SPLITNERF, split, SETTINGS, sample)
    assert outcomes[0].arrays["loss"] == outcomes[1].arrays["loss"] > 0
    cut = SPLITNERF.cut(split, SETTINGS)
    assert cut.train_steps == 5
    # The cloud need not know the edge's seed, and a setting that both must share shows in the digest.
    assert SPLITNERF.cut(split, {**SETTINGS, "edge_seed": 7}).weights_sha256 == cut.weights_sha256
    assert SPLITNERF.cut(split, {**SETTINGS, "edge_seed": 7}).config_sha256 == cut.config_sha256
    assert SPLITNERF.cut(split, {**SETTINGS, "samples": 9}).config_sha256 != cut.config_sha256
    assert SPLITNERF.cut(split, {**SETTINGS, "seed": 2}).weights_sha256 != cut.weights_sha256


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"preset": "fast"}, "preset 'fast' does not exist; there are: cpu, paper"),
        ({"rays": 0}, "setting rays is 0; accepted: a whole number from 1 to 65536"),
        ({"rate": "high"}, "setting rate is 'high'; accepted: a number from 1e-06 to 1"),
        ({"precision": "int8"}, "setting precision is 'int8'; accepted: float32, bfloat16"),
        ({"finest": 8}, "setting finest is 8; accepted: at least base, 16"),
        ({"weights": "shipped"}, "setting weights is 'shipped'; accepted: random, a training begins there"),
    ],
)
def test_settings_that_do_not_exist(settings: dict[str, object], line: str) -> None:
    with pytest.raises(InputError) as caught:
        SPLITNERF.cut("mid", settings)  # type: ignore[arg-type]
    assert str(caught.value) == line


def test_the_rate_falls_to_a_tenth() -> None:
    assert [SMALL.rate_at(step) for step in (0, 20, 40, 50)] == pytest.approx([1e-2, 1e-2 * 0.1**0.5, 1e-3, 1e-3])


def test_training_learns_a_view_that_it_has_not_seen() -> None:
    settings = Training(
        steps=70, rays=256, samples=24, levels=4, rows_log2=12, base=4, finest=32, chunk_points=6144, seed=1
    )
    scene = room(1, side=24, views=20)
    head, tail = ends("mid", settings)
    for sample in training_samples(scene, settings):
        exchange(head, tail, sample)
    mean = np.mean([p.image / 255 for p in scene.training], axis=(0, 1, 2))
    errors = []
    for picture in scene.testing:
        outcome, _ = exchange(head, tail, rendering_sample(scene, picture.camera, picture.name))
        truth = picture.image / 255
        errors.append((((outcome.arrays["image"] - truth) ** 2).mean(), ((mean - truth) ** 2).mean()))
    made, flat = np.mean(errors, axis=0)
    assert 10 * np.log10(flat / made) > 1.5  # decibels above one colour, after seconds
