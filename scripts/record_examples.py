#!/usr/bin/env python3
"""Runs the scenario of the HTTP API's examples in a new service, and records its requests and answers for the API's description."""

import sys
from pathlib import Path

if __name__ == "__main__":  # only here: the archive's workers import this file, too
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.service.scenario import record

    record()
