"""Answers of the query oracle, kept as they come: a query is counted over there, so none is asked twice.

``answers.bin`` is one record after the other (digest, picture, features), appended and flushed before the next query is
asked; ``answers.json`` says what a record holds. A kill costs at most the answer that was on its way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from attacker.attacks.base import QueriesSpent, Query
from attacker.attacks.image.inversion_networks.features import features_of
from victims.base import Progress, Sample
from wire.errors import InputError

PROMPT = "prompt"
"""Key in a sample's meta: words that the attacker knows of this picture."""


@dataclass(frozen=True)
class Answers:
    """Pairs of a picture and its features, mapped from a file.

    images: uint8 (N, S, S, 3). features: float32 (N, ...). digests: uint8 (N, 32), of :meth:`Sample.digest`.
    prompts: N texts, "" where there is none.
    """

    images: np.ndarray
    features: np.ndarray
    digests: np.ndarray
    prompts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def ask(data: Iterable[Sample], query: Query, limit: int, folder: Path, progress: Progress) -> Answers:
    """Ask for the first ``limit`` samples of ``data`` what is not in ``folder`` yet.

    A picture that comes again is answered from what is there. InputError for samples that are not square uint8 pictures
    of one size, for features of another shape than the first, and where ``folder`` holds answers for other pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = _Records(folder)
    prompts: list[str] = []
    try:
        for number, sample in enumerate(islice(data, limit)):
            prompts.append(str(sample.meta.get(PROMPT, "")))
            digest = bytes.fromhex(sample.digest())
            if number < records.count:
                records.expect(number, digest)
                continue
            image = _picture(sample)
            known = records.places.get(digest)
            if known is None:
                try:
                    features = features_of(query(sample), sample.name).cpu().numpy()
                except QueriesSpent:
                    if not number:
                        raise
                    prompts.pop()  # an answer that a kill took was counted over there: learn from what there is
                    break
            else:
                features = records.features(known)
            records.append(digest, image, features, sample.name)
            progress(number + 1, limit, f"{number + 1} queries")
    finally:
        records.close()
    if not prompts:
        raise InputError("no pictures to ask about; accepted: auxiliary pictures of the attacker's own")
    stored = records.mapped()[: len(prompts)]
    return Answers(stored["image"], stored["features"], stored["digest"], tuple(prompts))


def _picture(sample: Sample) -> np.ndarray:
    image = sample.arrays.get("image")
    if image is None or image.dtype != np.uint8 or image.ndim != 3 or image.shape != (len(image), len(image), 3):
        found = "absent" if image is None else f"{image.dtype} {image.shape}"
        raise InputError(f"{sample.name}: image is {found}; accepted: uint8 (S, S, 3)")
    return image


class _Records:
    """count: whole records in the file. places: digest -> number."""

    def __init__(self, folder: Path) -> None:
        self._path, self._about = folder / "answers.bin", folder / "answers.json"
        self._kind: np.dtype | None = None
        self.count, self.places = 0, dict[bytes, int]()
        if self._about.exists() and self._path.exists():
            self._kind = _kind(**json.loads(self._about.read_text()))
            self.count = self._path.stat().st_size // self._kind.itemsize
            os.truncate(self._path, self.count * self._kind.itemsize)  # a record that was cut short
            self.places = {digest.tobytes(): i for i, digest in enumerate(self.mapped()["digest"])}
        self._file = self._path.open("ab")

    def expect(self, number: int, digest: bytes) -> None:
        if self.mapped()["digest"][number].tobytes() != digest:
            raise InputError(
                f"{self._path}: answer {number} is for another picture than is given now; "
                "accepted: the same pictures in the same order, or an empty folder"
            )

    def features(self, number: int) -> np.ndarray:
        found: np.ndarray = self.mapped()["features"][number]
        return found

    def append(self, digest: bytes, image: np.ndarray, features: np.ndarray, name: str) -> None:
        if self._kind is None:
            about: dict[str, Any] = {"side": len(image), "features": list(features.shape)}
            part = self._about.with_suffix(".part")
            part.write_text(json.dumps(about))
            os.replace(part, self._about)
            self._kind = _kind(**about)
        for what, array in (("image", image), ("features", features)):
            if array.shape != self._kind[what].shape:
                raise InputError(
                    f"{name}: {what} is {array.shape}; the pictures before it had {self._kind[what].shape}"
                )
        record = np.empty((), self._kind)
        record["digest"], record["image"], record["features"] = np.frombuffer(digest, np.uint8), image, features
        self._file.write(record.tobytes())
        self._file.flush()
        self.places[digest] = self.count
        self.count += 1

    def mapped(self) -> np.ndarray:
        assert self._kind is not None
        if not self.count:
            return np.empty(0, self._kind)
        return np.memmap(self._path, self._kind, "r", shape=(self.count,))

    def close(self) -> None:
        self._file.close()


def _kind(side: int, features: list[int]) -> np.dtype:
    return np.dtype(
        [("digest", np.uint8, (32,)), ("image", np.uint8, (side, side, 3)), ("features", np.float32, tuple(features))]
    )
