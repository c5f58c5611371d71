"""The most memory that a process of its own takes."""

import subprocess
import sys
from pathlib import Path

# Prints the most memory held after the imports and after the whole of it, in KiB. By Linux' own count of this program:
# that of getrusage goes on from the peak of the process which started this one.
MEMORY = """
import sys, scipy.signal
from pathlib import Path
from launch.benchmarks.ingest import whole
def peak():
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
whole(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
print(before, peak())
"""


def of_ingest(path: Path, folder: Path, window: float) -> tuple[float | None, float | None]:
    """MiB held at most by a process after its imports, and after it has ingested the file; None where Linux is not.

    Raises:
      ValueError: it cannot be ingested.
    """
    if not Path("/proc/self/status").exists():
        return None, None
    given = map(str, (path, folder / "memory", window))
    done = subprocess.run([sys.executable, "-c", MEMORY, *given], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{path}: cannot be ingested: {done.stderr.strip().splitlines()[-1]}")
    before, peak = done.stdout.split()[-2:]
    return int(before) / 1024, int(peak) / 1024
