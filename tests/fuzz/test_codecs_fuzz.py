"""The fuzz target runs, covers what it is to cover, and finds nothing in a few seconds."""

import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from muniment.content import codecs
from muniment.content.car import write_car
from muniment.content.cid import CID, RAW

TARGET = Path(__file__).with_name("fuzz_codecs.py")
SECONDS = 5
LEAF = CID.of(RAW, b"leaf")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("atheris") is None,
        reason="atheris is not installed: it has wheels for Linux on x86-64 only",
    ),
]


def write_seeds(folder):
    """Write one honest input for each reader, for the fuzzer to begin with."""
    tree = {"a": [1, -1, 1.5, None, True, "text", b"bytes", LEAF]}
    node = {"Data": b"data", "Links": [{"Hash": LEAF, "Name": "name", "Tsize": 4}]}
    plain = {"a": [1, -1, 1.5, None, True, "text"]}
    values = {RAW: b"raw", codecs.DAG_PB: node, codecs.CBOR: plain, codecs.JSON: plain}
    for choice, codec in enumerate(sorted(codecs.KNOWN)):
        block = codecs.encode(codec, values.get(codec, tree))
        (folder / f"{codec:x}").write_bytes(bytes([choice]) + block)
    car = io.BytesIO()
    write_car(car, [LEAF], [(LEAF, b"leaf")])
    (folder / "car").write_bytes(b"\x07" + car.getvalue())


def run(*arguments):
    return subprocess.run(
        [sys.executable, TARGET, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_few_seconds_find_nothing(tmp_path):
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    write_seeds(seeds)
    found = f"-artifact_prefix={tmp_path}/"
    result = run(f"-max_total_time={SECONDS}", "-max_len=400", "-rss_limit_mb=1024", found, seeds)
    assert result.returncode == 0, result.stderr[-3000:]
    executed = re.search(r"Done (\d+) runs", result.stderr)
    assert executed, result.stderr[-3000:]
    assert int(executed[1]) > 100
