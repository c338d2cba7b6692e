"""The official compliance suite of the IPFS Pinning Service API, unmodified but for where it reads the schemas, and run on a Node.js of today.

It says on its exit code nothing about its result, and leaves checks out that it cannot prepare: so only its report counts.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from muniment.errors import ExternalServiceError
from muniment.testing.node import install_packages, run_program

CHECKS = 9
"""What the suite has to have run; fewer mean that it could not."""

TIMEOUT_S = 240
_PACKAGE = "@ipfs-shipyard/pinning-service-compliance"
_CONSTANTS = "dist/src/utils/constants.js"
_SPECIFICATION = (
    "`https://raw.githubusercontent.com/ipfs/pinning-services-api-spec/${specVersion}/${specFile}`"
)


@dataclass(frozen=True, slots=True)
class ComplianceReport:
    """What the suite found.

    Attributes:
        total: Checks that it ran.
        passed: Checks that passed.
        log: What it said.
    """

    total: int
    passed: int
    log: str

    @property
    def is_full_success(self) -> bool:
        """Whether all checks ran and passed."""
        return self.total == self.passed == CHECKS


def run_compliance(project: Path, endpoint: str, token: str) -> ComplianceReport:
    """Run the suite against an endpoint; it asks once a second, so this takes most of a minute.

    Args:
        project: Folder with the suite's package.json and package-lock.json, and pinning-service.yaml.
        endpoint: URL of the API, without `/pins`.
        token: A key of an account without pins.

    Raises:
        ExternalServiceError: The suite cannot be installed or run.
    """
    packages = install_packages(project)
    with tempfile.TemporaryDirectory(prefix="muniment-compliance-") as folder:
        suite = Path(folder) / "suite"
        shutil.copytree(packages / "node_modules" / _PACKAGE, suite)
        (suite / "node_modules").symlink_to(packages / "node_modules")
        constants = suite / _CONSTANTS
        text = constants.read_text("utf-8")
        if _SPECIFICATION not in text:
            raise ExternalServiceError("the compliance suite reads its schemas from elsewhere now")
        schemas = json.dumps(str((project / "pinning-service.yaml").absolute()))
        constants.write_text(text.replace(_SPECIFICATION, schemas), "utf-8")
        log = run_program(
            suite / "dist/src/index.js",
            *("-s", endpoint, token),
            preloaded=project / "removed-functions.cjs",
            folder=suite,
            timeout_s=TIMEOUT_S,
        )
        report = suite / "dist/docs" / f"{urlsplit(endpoint).hostname}.json"
        if not report.exists():
            raise ExternalServiceError(f"the compliance suite left no report: {log[-2000:]}")
        found = json.loads(report.read_text("utf-8"))
    return ComplianceReport(int(found["total"]), int(found["passed"]), log)
