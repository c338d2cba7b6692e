"""What every benchmark writes: the machine, plain tables, a JSON file."""

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

MB = 1_000_000


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on, and how busy it was when they were begun."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "load_1_min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table: words to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if _is_word(rows, column) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_word(rows: Sequence[Sequence[str]], column: int) -> bool:
    return not any(row[column][:1].isdigit() for row in rows)


def write_json(folder: Path, name: str, result: dict[str, object]) -> Path:
    """Write `result` with the machine and the time into `folder` as `<name>-<date>.json`."""
    now = datetime.now().astimezone()
    path = folder / f"{name}-{now:%Y%m%dT%H%M%S}.json"
    whole = {"date": now.isoformat(timespec="seconds"), **result}
    path.write_text(json.dumps(whole, indent=2, default=dataclasses.asdict) + "\n", "utf-8")
    return path
