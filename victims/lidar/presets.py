"""Where a voxel grid lies and how fine it is: the preprocessing half of a LiDAR victim."""

from __future__ import annotations

from dataclasses import dataclass

from wire.errors import InputError

#: Index names of the three detection classes, in the order of the detector's outputs.
CLASSES: tuple[str, ...] = ("Car", "Pedestrian", "Cyclist")

#: Horizontal stride of the bird's-eye-view map in voxels (x and y), after three strided layers.
BEV_STRIDE = 8


@dataclass(frozen=True)
class Preset:
    """An axis-aligned voxel grid in the sensor's frame (x forward, y left, z up, metres).

    ``range_xyz`` is (x_min, y_min, z_min, x_max, y_max, z_max); a point belongs to the grid when
    min <= p < max on each axis.  ``voxel_size`` is (x, y, z).  Sizes along x and y must be whole
    multiples of ``BEV_STRIDE`` voxels, so that every split point's grid divides evenly.
    """

    name: str
    range_xyz: tuple[float, float, float, float, float, float]
    voxel_size: tuple[float, float, float] = (0.05, 0.05, 0.1)
    max_points_per_voxel: int = 5

    def __post_init__(self) -> None:
        low, high = self.range_xyz[:3], self.range_xyz[3:]
        for axis, a, b, size in zip("xyz", low, high, self.voxel_size, strict=True):
            cells = (b - a) / size
            if size <= 0 or cells < 1 or abs(cells - round(cells)) > 1e-3:
                raise ValueError(f"preset {self.name}: {axis} from {a} to {b} m is no whole number of {size} m voxels")
            if axis != "z" and round(cells) % BEV_STRIDE:
                raise ValueError(
                    f"preset {self.name}: {round(cells)} voxels along {axis}, not a multiple of {BEV_STRIDE}"
                )
        if self.max_points_per_voxel < 1:
            raise ValueError(
                f"preset {self.name}: max_points_per_voxel is {self.max_points_per_voxel}, at least 1 is needed"
            )

    @property
    def cells(self) -> tuple[int, int, int]:
        """Voxels along z, y, x that points can fall into, e.g. (40, 1600, 1408) for KITTI."""
        low, high, size = self.range_xyz[:3], self.range_xyz[3:], self.voxel_size
        x, y, z = (round((b - a) / s) for a, b, s in zip(low, high, size, strict=True))
        return z, y, x

    @property
    def shape(self) -> tuple[int, int, int]:
        """Spatial shape z, y, x of the sparse tensor: ``cells`` with one more layer in z.

        The extra layer is OpenPCDet's; without it the last strided layers would not leave two layers in z.
        """
        z, y, x = self.cells
        return z + 1, y, x

    @property
    def bev(self) -> tuple[int, int]:
        """Cells y, x of the detector's bird's-eye-view map."""
        _, y, x = self.cells
        return y // BEV_STRIDE, x // BEV_STRIDE


#: ``kitti`` is the published detector's range; ``street`` a crop small enough for two cores; ``near`` one that leaves
#: them time to attack twice a second.
PRESETS: dict[str, Preset] = {
    "kitti": Preset("kitti", (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)),
    "street": Preset("street", (0.0, -12.8, -3.0, 25.6, 12.8, 1.0)),
    "near": Preset("near", (0.0, -8.0, -3.0, 16.0, 8.0, 1.0)),
}


def preset(name: str) -> Preset:
    """The preset called ``name``; InputError names the ones that exist."""
    try:
        return PRESETS[name]
    except KeyError:
        raise InputError(f"no LiDAR preset {name!r}; there are {', '.join(sorted(PRESETS))}") from None
