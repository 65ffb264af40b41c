"""One LiDAR scan with its labelled boxes: what an edge sees in one turn of the sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scan:
    """One turn of the sensor.

    points: float32 (N, 4): x forward, y left, z up in metres with the sensor at the origin (about 1.73 m
        above the ground), and reflectance in 0..1.
    boxes: float32 (M, 7): centre x, y, z, length dx, width dy, height dz in metres and heading in radians about z
        (0 = +x), in the lidar frame (the OpenPCDet convention); (0, 7) if there are none.
    labels: "Car", "Pedestrian" or "Cyclist", one per box.
    name: "street-<seed>-<frame>", or the stem of the file it was read from.
    """

    points: np.ndarray
    boxes: np.ndarray
    labels: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 4:
            raise ValueError(f"scan {self.name!r}: points have shape {self.points.shape}, accepted is (N, 4)")
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 7:
            raise ValueError(f"scan {self.name!r}: boxes have shape {self.boxes.shape}, accepted is (M, 7)")
        if len(self.labels) != len(self.boxes):
            raise ValueError(
                f"scan {self.name!r}: {len(self.labels)} labels for {len(self.boxes)} boxes, one each is needed"
            )
