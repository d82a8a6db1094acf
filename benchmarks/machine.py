"""What a measurement was made on: processor, versions, commit; every CSV row carries it."""

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


@functools.cache
def processor() -> str:
    """Processor name and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if found:
            name = found[1]
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return f"{name}, {cores} cores"


@functools.cache
def versions() -> str:
    """Versions of Python and of the libraries that do the work."""
    versions = [f"python {platform.python_version()}"]
    for name in ("numpy", "pillow", "torch"):
        versions.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(versions)


@functools.cache
def commit() -> str:
    """Short commit of this checkout, with a plus sign when files were changed since."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return "none"
    return f"{head}+" if git("status", "--porcelain", "--untracked-files=no") else head


def about() -> dict[str, str]:
    """The columns of a CSV that say all this."""
    return {"machine": processor(), "versions": versions(), "commit": commit()}


def peak_memory() -> int | None:
    """The most bytes that this process ever had in memory; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's getrusage would begin with the peak of the process that started this one.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS
