"""The contract between modalities and what draws them."""

from __future__ import annotations

import numpy as np
import pytest

from victims.view import Points, view
from wire.errors import InputError


def test_a_modality_without_view_is_named() -> None:
    with pytest.raises(InputError, match="'sonar' has no view"):
        view("sonar")


def test_values_belong_to_points() -> None:
    with pytest.raises(ValueError, match=r"accepted: \(N, 3\) and \(N,\)"):
        Points(np.zeros((2, 3), np.float32), np.zeros(3, np.float32), "height")
