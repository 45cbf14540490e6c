"""How much memory has a process?"""

import resource
import sys
from pathlib import Path

_PROC = Path("/proc")
_MIB = 1 << (20 if sys.platform == "darwin" else 10)


def rss_mib() -> float:
    """Say how much memory this process has now; where the system does not say, the most that it had."""
    return _own_mib("VmRSS")


def max_rss_mib() -> float:
    """Say how much memory this process had at most. What `getrusage` says of it may be its parent's, where there is better."""
    return _own_mib("VmHWM")


def max_rss_mib_of(process: int) -> float:
    """Say how much memory another process had at most; 0 if it has ended, or the system does not say."""
    try:
        return _mib(_PROC / str(process), "VmHWM")
    except OSError:
        return 0.0


def _own_mib(name: str) -> float:
    if not _PROC.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB
    return _mib(_PROC / "self", name)


def _mib(process: Path, name: str) -> float:
    lines = (process / "status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0) / 1024
