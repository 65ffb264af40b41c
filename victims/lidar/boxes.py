"""Oriented 3D boxes: their code for regression, their corners, their overlap.

A box is (x, y, z, dx, dy, dz, heading): centre and full sizes in metres, heading in radians about z, zero
along x, counter-clockwise.  Overlaps are exact (polygon clipping by GEOS through shapely).
"""

from __future__ import annotations

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

Boxes = NDArray[np.float32] | NDArray[np.float64]

#: Heading at which the first direction bin begins (OpenPCDet's ``DIR_OFFSET``), so that no bin border lies on
#: the two most common headings of a street.
DIRECTION_OFFSET = 0.78539


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """SECOND's residual code of ``boxes`` relative to ``anchors``, both (..., 7), result (..., 7).

    Offsets along x, y are in diagonals of the anchor, along z in its height; sizes are log ratios; the heading
    is the plain difference (Yan et al., SECOND, 2018, section 3.2).
    """
    diagonal = torch.hypot(anchors[..., 3], anchors[..., 4])
    return torch.stack(
        [
            (boxes[..., 0] - anchors[..., 0]) / diagonal,
            (boxes[..., 1] - anchors[..., 1]) / diagonal,
            (boxes[..., 2] - anchors[..., 2]) / anchors[..., 5],
            torch.log(boxes[..., 3].clamp_min(1e-5) / anchors[..., 3]),
            torch.log(boxes[..., 4].clamp_min(1e-5) / anchors[..., 4]),
            torch.log(boxes[..., 5].clamp_min(1e-5) / anchors[..., 5]),
            boxes[..., 6] - anchors[..., 6],
        ],
        dim=-1,
    )


def decode(code: Tensor, anchors: Tensor) -> Tensor:
    """Inverse of ``encode``.  Size codes are clamped to +-4, so that noise on the wire cannot give infinities."""
    diagonal = torch.hypot(anchors[..., 3], anchors[..., 4])
    return torch.stack(
        [
            code[..., 0] * diagonal + anchors[..., 0],
            code[..., 1] * diagonal + anchors[..., 1],
            code[..., 2] * anchors[..., 5] + anchors[..., 2],
            torch.exp(code[..., 3].clamp(-4, 4)) * anchors[..., 3],
            torch.exp(code[..., 4].clamp(-4, 4)) * anchors[..., 4],
            torch.exp(code[..., 5].clamp(-4, 4)) * anchors[..., 5],
            code[..., 6] + anchors[..., 6],
        ],
        dim=-1,
    )


def direction_bin(heading: Tensor) -> Tensor:
    """0 or 1 (int64): which half turn, counted from ``DIRECTION_OFFSET``, a heading points into."""
    turned = torch.remainder(heading - DIRECTION_OFFSET, 2 * torch.pi)
    return (turned >= torch.pi).long()


def apply_direction(heading: Tensor, bins: Tensor) -> Tensor:
    """The heading that agrees with ``heading`` up to half turns and lies in direction bin ``bins``."""
    half_turn = torch.remainder(heading - DIRECTION_OFFSET, torch.pi)
    return half_turn + DIRECTION_OFFSET + torch.pi * bins.to(heading.dtype)


def bev_corners(boxes: Boxes) -> NDArray[np.float64]:
    """(M, 7) boxes to (M, 4, 2) corners in the x-y plane, counter-clockwise from front left."""
    b = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    local = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]) * b[:, None, 3:5]
    c, s = np.cos(b[:, 6])[:, None], np.sin(b[:, 6])[:, None]
    x, y = local[..., 0], local[..., 1]
    return np.stack([x * c - y * s, x * s + y * c], axis=-1) + b[:, None, :2]


def bev_overlap(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Areas (A, B) in square metres in which boxes a (A, 7) and b (B, 7) overlap seen from above."""
    a, b = np.asarray(a, dtype=np.float64).reshape(-1, 7), np.asarray(b, dtype=np.float64).reshape(-1, 7)
    area = np.zeros((len(a), len(b)))
    reach = np.hypot(a[:, 3], a[:, 4])[:, None] / 2 + np.hypot(b[:, 3], b[:, 4])[None] / 2
    distance = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=-1)
    i, j = np.nonzero(distance < reach)
    if len(i):
        first, second = shapely.polygons(bev_corners(a)), shapely.polygons(bev_corners(b))
        area[i, j] = shapely.area(shapely.intersection(first[i], second[j]))
    return area


def iou_bev(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Intersection over union (A, B) of oriented boxes seen from above."""
    a, b = np.asarray(a, dtype=np.float64).reshape(-1, 7), np.asarray(b, dtype=np.float64).reshape(-1, 7)
    return _over_union(bev_overlap(a, b), a[:, 3] * a[:, 4], b[:, 3] * b[:, 4])


def iou_3d(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """Intersection over union (A, B) of the volumes of oriented boxes."""
    a, b = np.asarray(a, dtype=np.float64).reshape(-1, 7), np.asarray(b, dtype=np.float64).reshape(-1, 7)
    top = np.minimum(a[:, None, 2] + a[:, None, 5] / 2, b[None, :, 2] + b[None, :, 5] / 2)
    bottom = np.maximum(a[:, None, 2] - a[:, None, 5] / 2, b[None, :, 2] - b[None, :, 5] / 2)
    overlap = bev_overlap(a, b) * np.clip(top - bottom, 0, None)
    return _over_union(overlap, a[:, 3:6].prod(axis=1), b[:, 3:6].prod(axis=1))


def points_in_boxes(points: NDArray[np.float32], boxes: Boxes) -> NDArray[np.bool_]:
    """(M, P) whether each point (P, 3 or more columns) lies in each box (M, 7), borders included."""
    b = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    xyz = np.asarray(points)[:, :3].astype(np.float64)
    inside = np.zeros((len(b), len(xyz)), dtype=bool)
    for row, box in zip(inside, b, strict=True):
        dx, dy, dz = (xyz - box[:3]).T
        c, s = np.cos(box[6]), np.sin(box[6])
        along, across = dx * c + dy * s, -dx * s + dy * c
        row[:] = (np.abs(along) <= box[3] / 2) & (np.abs(across) <= box[4] / 2) & (np.abs(dz) <= box[5] / 2)
    return inside


def _over_union(overlap: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    union = a[:, None] + b[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
