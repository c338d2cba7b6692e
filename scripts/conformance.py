"""What of the conformance runs is no shell: load the gateway suite's fixtures, count its results, and run the pinning suite."""

import json
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from muniment.adapters.block_store import EmbeddedBlockStore
from muniment.content.car import CarReader
from muniment.testing.pinning_compliance import CHECKS, run_compliance
from muniment.testing.service import LocalService


def load(fixtures, store_folder, records_folder):
    """Fill a store and a folder of IPNS records; print the options for the DNSLinks, a word a line."""
    with EmbeddedBlockStore(store_folder) as store:
        for path in sorted(Path(fixtures).rglob("*.car")):
            with open(path, "rb") as file:
                store.put_many(CarReader(file))
    Path(records_folder).mkdir()
    for path in Path(fixtures).rglob("*.ipns-record"):
        shutil.copy(path, records_folder)
    links = json.loads((Path(fixtures) / "dnslinks.json").read_text())["domains"]
    for domain, path in links.items():
        print(f"--dnslink\n{domain}={path}")


def count(report):
    """Name what failed, and print the totals last; exits with 1 unless everything passed."""
    results = Counter()
    for line in Path(report).read_text().splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("Test") and event.get("Action") in ("pass", "fail", "skip"):
            results[event["Action"]] += 1
            if event["Action"] == "fail":
                print(f"failed: {event['Test']}")
    total = results.total()
    print(
        f"{total:,} results: {results['pass']:,} passed, {results['fail']:,} failed, {results['skip']:,} skipped"
    )
    sys.exit(0 if total and results["pass"] == total else 1)


def pinning():
    """Run the compliance suite of the pinning API against a new service; exits with 1 unless everything passed."""
    with tempfile.TemporaryDirectory(prefix="muniment-conformance-") as folder:
        service = LocalService(Path(folder) / "service")
        key = service.create_organization()
        with service:
            report = run_compliance(Path("tests/javascript-compliance"), f"{service.url}/psa", key)
    if not report.is_full_success:
        print(report.log)
    print(f"pinning: {report.total} checks: {report.passed} passed; expected {CHECKS}")
    sys.exit(0 if report.is_full_success else 1)


if __name__ == "__main__":
    {"load": load, "count": count, "pinning": pinning}[sys.argv[1]](*sys.argv[2:])
