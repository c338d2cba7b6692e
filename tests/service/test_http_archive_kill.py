"""Workers that are killed in the middle of archiving: another goes on, and everything is done once."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from litestar.testing import TestClient

from muniment.accounts.organizations import Act
from muniment.bootstrap.service import Service
from muniment.entrypoints.http.app import create_app
from muniment.service_jobs.registering import ARCHIVE, new_archive_job

WORKER = """
import sys, threading
from pathlib import Path
from muniment.bootstrap.service import Service

if __name__ == "__main__":
    with Service(Path(sys.argv[1])).worker():
        print("working", flush=True)
        threading.Event().wait()
"""
FILES = 40
LIMIT_S = 120


@pytest.fixture
def make_service(tmp_path, monkeypatch):
    """Make a service with one organisation and some uploads."""
    monkeypatch.setenv("MUNIMENT_CALENDARS", "")
    monkeypatch.setenv("MUNIMENT_WORKERS", "1")
    services = []

    def make(database):
        home = tmp_path / "service"
        home.mkdir()
        (home / "service.toml").write_text(f"database = '{database}'\nlease_s = 1\n")
        service = Service(home)
        services.append(service)
        key, _new_keys = service.operator.create_organization("one", "One")
        client = TestClient(create_app(service), base_url="http://muniment.test")
        for number in range(FILES):
            answer = client.put(
                f"/v1/files/papers/{number}",
                content=hashlib.sha256(b"%d" % number).digest() * 2_000,
                headers={"authorization": f"Bearer {key}"},
            )
            assert answer.status_code == 201, answer.text
        return service

    yield make
    for service in services:
        service.close()


def act():
    return Act("one", "system", time.time_ns() // 1000)


def start_worker(service):
    """Start a worker in a process of its own, and return it when it works."""
    command = [sys.executable, "-c", WORKER, str(service.home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def ended(service, job):
    """Return the job when it has ended."""
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s:
        found = service.jobs.job("one", job.job_id)
        if found.state.is_end:
            return found
        time.sleep(0.05)
    raise AssertionError(service.jobs.job("one", job.job_id))


def check_done_once(service, job):
    """Check that everything is archived, exactly once, and that all of it is told of."""
    assert job.state == "succeeded", job.problem
    catalog = service.archives.get("one").catalog
    files = [file for row in catalog.commits() for file in catalog.files_of(row.commit_id)]
    assert len(files) == len({file.scanned.path for file in files}) == FILES
    assert [commit["commit_id"] for commit in job.result["commits"]] == [
        row.commit_id for row in catalog.commits()
    ]
    with service.database.transaction() as connection:
        states = connection.exec_driver_sql("SELECT DISTINCT state FROM uploads").scalars().all()
    assert states == ["archived"]
    left = [names for _folder, _folders, names in os.walk(service.home / "uploads/one") if names]
    assert left == []
    audit = [entry.action for entry in service.accounts.audit("one", 0, 1_000)]
    assert audit.count("commit.stored") == job.result["commit_count"]
    assert not os.listdir(service.organization_home("one") / "staging")


@pytest.mark.slow
def test_another_worker_goes_on_where_one_was_killed(make_service, database_url):
    service = make_service(database_url)
    several_commits = {"batch_bytes": 500_000}
    job = service.operations.start(
        act(), new_archive_job("one", ARCHIVE, several_commits, "system")
    )
    first, catalog = start_worker(service), service.archives.get("one").catalog
    while not list(catalog.commits()):
        time.sleep(0.01)
    kill(first)
    assert not service.jobs.job("one", job.job_id).state.is_end
    second = start_worker(service)
    try:
        done = ended(service, job)
    finally:
        kill(second)
    assert done.attempts == 2
    check_done_once(service, done)


@pytest.mark.slow
def test_workers_killed_at_any_moment_lose_and_repeat_nothing(make_service):
    service = make_service("")
    job = service.operations.start(
        act(), new_archive_job("one", ARCHIVE, {"batch_bytes": 500_000}, "system")
    )
    dice = random.Random(5)
    for _ in range(12):
        worker = start_worker(service)
        time.sleep(dice.uniform(0, 1.5))
        kill(worker)
        if service.jobs.job("one", job.job_id).state.is_end:
            break
    worker = start_worker(service)
    try:
        done = ended(service, job)
    finally:
        kill(worker)
    assert done.result["commit_count"] > 1
    check_done_once(service, done)
