"""The official compliance suite of the IPFS Pinning Service API passes: all of its checks, none left out."""

from pathlib import Path

import pytest

from muniment.testing.pinning_compliance import run_compliance
from muniment.testing.service import LocalService

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROJECT = Path(__file__).parents[1] / "javascript-compliance"


def test_the_compliance_suite_passes(tmp_path):
    service = LocalService(tmp_path / "service")
    key = service.create_organization()
    with service:
        report = run_compliance(PROJECT, f"{service.url}/psa", key)
    assert report.is_full_success, f"{report.passed} of {report.total} passed:\n{report.log}"
