import subprocess
import sys

FAULTS = """
import resource, sys
if sys.argv[1] == "tuned":
    from wire.malloc import tune
    assert tune()
import numpy as np
for _ in range(8):
    np.empty(48 << 20, np.uint8).fill(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    np.empty(48 << 20, np.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(kind: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, kind], capture_output=True, text=True, check=True).stdout)


def test_large_buffers_keep_their_pages():
    """48 MiB are above what glibc's own threshold can grow to, so without tuning each buffer is mapped anew."""
    assert _faults("tuned") < 100
    assert _faults("plain") > 100
