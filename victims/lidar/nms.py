"""Non-maximum suppression of oriented boxes, on the CPU and with bounded work."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from victims.lidar.boxes import iou_bev


def rotated_nms(boxes: Tensor, scores: Tensor, threshold: float, *, pre: int = 1024, post: int = 100) -> Tensor:
    """Indices (K,) int64 of the boxes that stay, best score first.

    boxes (N, 7), scores (N,).  Of the ``pre`` best boxes (ties: lower index first), one stays unless its
    overlap seen from above with a better one that stayed exceeds ``threshold``; at most ``post`` stay.
    """
    if pre < 1 or post < 1:
        raise ValueError(f"suppression keeps at least one box before and after; got pre={pre}, post={post}")
    order = torch.sort(scores, descending=True, stable=True).indices[:pre]
    candidates = boxes[order].detach().cpu().numpy().astype(np.float64)
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == post:
            break
        rest = np.flatnonzero(alive[i + 1 :]) + i + 1
        alive[rest[iou_bev(candidates[i], candidates[rest])[0] > threshold]] = False
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]
