"""The only place that touches spconv: its import, its CPU quirks and its order of sites.

Three quirks of the CPU wheel are dealt with here and nowhere else.  Backward passes ask CUDA for a stream
unless told that there is none.  Convolutions without any active site fail, so empty outputs are built by
hand.  With more than one OpenMP thread, sums are scattered in an order that differs from run to run;
``one_thread`` makes results repeatable bit for bit.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor, nn

from victims.lidar.voxels import Sites
from wire.errors import MissingExtraError

# Importing spconv raises warnings, and makes torch.fx log one, that concern its authors and not its users.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spconv.pytorch as spconv
        from spconv.core import ConvAlgo
        from spconv.pytorch import ops as _ops
except ImportError as error:
    raise MissingExtraError(f"LiDAR victims need spconv ({error}); install it with: pip install -e .[lidar]") from error

if not torch.cuda.is_available():
    _ops.get_current_stream = lambda: 0
# Builds of spconv for CUDA choose an algorithm without a CPU implementation unless told otherwise.
_ALGORITHM = None if torch.cuda.is_available() else ConvAlgo.Native

# spconv brings an OpenMP runtime of its own beside torch's, so torch.set_num_threads alone does not reach it.
_POOLS = ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block's sparse layers on one thread, so that equal inputs give equal bytes.

    OpenMP's setting belongs to the calling thread: enter the context where the layers run.
    """
    with _POOLS.limit(limits=1, user_api="openmp"):
        yield


def submanifold(c_in: int, c_out: int, key: str) -> nn.Module:
    """A 3x3x3 submanifold convolution without bias: output sites are the input sites."""
    layer: nn.Module = spconv.SubMConv3d(c_in, c_out, 3, padding=1, bias=False, indice_key=key, algo=_ALGORITHM)
    return layer


def strided(c_in: int, c_out: int, kernel: Zyx, stride: Zyx, padding: Zyx, key: str) -> nn.Module:
    """A strided sparse convolution without bias: a site is active when its window holds an active one."""
    geometry = {"stride": stride, "padding": padding, "bias": False, "indice_key": key}
    layer: nn.Module = spconv.SparseConv3d(c_in, c_out, kernel, **geometry, algo=_ALGORITHM)
    return layer


def sequential(*layers: nn.Module) -> nn.Module:
    """Sparse and dense layers in a row; the dense ones act on the features of the active sites."""
    layer: nn.Module = spconv.SparseSequential(*layers)
    return layer


def run(layers: nn.Module, sites: Sites) -> Sites:
    """Apply sparse ``layers`` to ``sites``; the result is in canonical order.

    Works without sites.  Differentiable in features and weights.
    """
    if len(sites) == 0:
        shape, channels = _empty_output(layers, sites.shape, sites.features.shape[1])
        return Sites(sites.features.new_zeros(0, channels), sites.coords, shape, sites.batch)
    # spconv reads memory as if it were contiguous; what torch.nonzero gives, for one, is not.
    features, coords = sites.features.contiguous(), sites.coords.contiguous()
    tensor = spconv.SparseConvTensor(features, coords, list(sites.shape), sites.batch)
    out = layers(tensor)
    z, y, x = out.spatial_shape
    return Sites(out.features, out.indices, (int(z), int(y), int(x)), sites.batch).canonical()


def dense(sites: Sites) -> Tensor:
    """The sites as a dense tensor (B, C, Z, Y, X), zero where no site is active."""
    z, y, x = sites.shape
    b, cz, cy, cx = sites.coords.long().unbind(1)
    flat = sites.features.new_zeros(sites.batch * z * y * x, sites.features.shape[1])
    flat = flat.index_copy(0, ((b * z + cz) * y + cy) * x + cx, sites.features)
    return flat.view(sites.batch, z, y, x, -1).permute(0, 4, 1, 2, 3).contiguous()


Zyx = tuple[int, int, int]


def _empty_output(layers: nn.Module, shape: Zyx, channels: int) -> tuple[Zyx, int]:
    """Grid and channels that ``layers`` would give, from their geometry alone."""
    for layer in layers.modules():
        if isinstance(layer, spconv.SubMConv3d):
            channels = layer.out_channels
        elif isinstance(layer, spconv.SparseConv3d):
            channels = layer.out_channels
            geometry = zip(shape, layer.kernel_size, layer.stride, layer.padding, strict=True)
            z, y, x = ((n + 2 * p - k) // s + 1 for n, k, s, p in geometry)
            shape = (z, y, x)
    return shape, channels
