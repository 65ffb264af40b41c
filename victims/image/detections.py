"""From a detector's map to boxes: the published decodings, and suppression of what overlaps a better box."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from victims.image.yolo import ANCHORS

LEAST_SCORE = 0.1
MOST_OVERLAP = 0.45


def fastestdet_boxes(answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """FastestDet's map (1, 85, H, W) under ``logits`` to ``boxes``, ``scores``, ``classes``, best first.

    score = objectness^0.6 * class^0.4; the centre is the cell's place plus tanh of the first two values.
    """
    grid = answer["logits"][0].astype(np.float32)
    height, width = grid.shape[1:]
    classes = grid[5:].argmax(0)
    scores = grid[0] ** 0.6 * grid[5:].max(0) ** 0.4
    down, across = np.mgrid[:height, :width].astype(np.float32)
    middle = np.stack([(np.tanh(grid[1]) + across) / width, (np.tanh(grid[2]) + down) / height], -1)
    size = _sigmoid(np.stack([grid[3], grid[4]], -1))
    return _kept(middle.reshape(-1, 2), size.reshape(-1, 2), scores.reshape(-1), classes.reshape(-1))


def yolo_boxes(answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """YOLO-v2's map (1, anchors * (5 + classes), H, W) under ``logits`` to ``boxes``, ``scores``, ``classes``.

    Equations of section 2 of the paper: sigmoid of x and y within the cell, the anchor times the exponential of w and
    h, score = sigmoid of objectness times the softmax of the classes.
    """
    raw = answer["logits"][0].astype(np.float32)
    height, width = raw.shape[1:]
    grid = raw.reshape(len(ANCHORS), -1, height, width)
    anchors = np.asarray(ANCHORS, np.float32)[:, None, None, :]
    down, across = np.mgrid[:height, :width].astype(np.float32)
    middle = np.stack([(_sigmoid(grid[:, 0]) + across) / width, (_sigmoid(grid[:, 1]) + down) / height], -1)
    size = anchors * np.exp(np.stack([grid[:, 2], grid[:, 3]], -1).clip(max=10)) / np.array([width, height], np.float32)
    shares = np.exp(grid[:, 5:] - grid[:, 5:].max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    scores = _sigmoid(grid[:, 4]) * shares.max(1)
    return _kept(middle.reshape(-1, 2), size.reshape(-1, 2), scores.reshape(-1), shares.argmax(1).reshape(-1))


def suppressed(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, most: float = MOST_OVERLAP) -> np.ndarray:
    """Indices, best first, of the boxes (N, 4) that overlap no better one of their class more than ``most`` (IoU)."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        rivals = (classes[order] == classes[best]) & (_overlap(boxes[best], boxes[order]) > most)
        order = order[~rivals]
    return np.array(kept, np.int64)


def _kept(middle: np.ndarray, size: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    likely = scores >= LEAST_SCORE
    boxes = np.concatenate([middle - size / 2, middle + size / 2], 1)[likely].clip(0, 1)
    scores, classes = scores[likely], classes[likely]
    best = suppressed(boxes, scores, classes)
    return {
        "boxes": boxes[best].astype(np.float32),
        "scores": scores[best].astype(np.float32),
        "classes": classes[best].astype(np.int64),
    }


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = (high - low).clip(min=0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - shared
    result: np.ndarray = shared / np.maximum(union, 1e-12)
    return result


def _sigmoid(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 + 0.5 * np.tanh(x / 2)
    return result
