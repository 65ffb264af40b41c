"""The inception score's share of each picture, over the network of that name, which the user gives as a file.

The score (Salimans et al. 2016) is defined over one network, TensorFlow's Inception of 2015 with its 1008 classes, and
is comparable over that alone. It is published as TorchScript with NVIDIA's StyleGAN2-ADA
(``metrics/inception-2015-12-05.pt``); nothing of it is shipped.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from wire.errors import InputError

CLASSES: Final = 1008

Probabilities = NDArray[np.float64]
"""(1008,), sums to 1."""


class InceptionScore:
    """Pictures to what each adds to the logarithm of their set's inception score, in nats.

    network: the TorchScript file. InputError for another file, when the first picture is seen.
    """

    def __init__(self, network: Path) -> None:
        self._path = network
        self._mean: Probabilities | None = None

    def gather(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        """The set that is scored next, (H, W, 3) each: its mean probabilities stand for the classes' shares."""
        total, count = np.zeros(CLASSES), 0
        for picture in pictures:
            total, count = total + self._probabilities(picture), count + 1
        self._mean = total / count if count else None

    def __call__(self, picture: NDArray[np.uint8]) -> float | None:
        """KL(p(class | picture), mean over the set); exp of its mean is the score. None before :meth:`gather`."""
        if self._mean is None:
            return None
        from scipy.special import rel_entr

        return float(rel_entr(self._probabilities(picture), self._mean).sum())

    def _probabilities(self, picture: NDArray[np.uint8]) -> Probabilities:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]
        try:
            with torch.inference_mode():
                # Without its output bias, as the network's first users took it; the file scales pictures itself.
                found = self._network(pixels, no_output_bias=True)[0].double().numpy()
        except (RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise self._unfit(str(error).strip().splitlines()[-1]) from None
        if found.shape != (CLASSES,) or not np.isclose(found.sum(), 1, atol=1e-3):
            raise self._unfit(f"it answers with {found.shape}, which sums to {found.sum():.3g}")
        return np.asarray(found / found.sum())

    @cached_property
    def _network(self) -> Any:
        try:
            with warnings.catch_warnings():
                # It is deprecated, but the form in which the network is published.
                warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
                return torch.jit.load(str(self._path), "cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            raise self._unfit(str(error).strip().splitlines()[0]) from None

    def _unfit(self, why: str) -> InputError:
        return InputError(
            f"inception {self._path}: {why}; accepted: TensorFlow's Inception of 2015 as TorchScript, {CLASSES} "
            "probabilities for uint8 (N, 3, H, W), as StyleGAN2-ADA publishes it"
        )
