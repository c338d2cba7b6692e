"""The catalogue when its processes die at any moment, and when there are several of them."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter

from muniment.adapters.sql.catalog import open_catalog
from muniment.adapters.sql.checking import check_catalog
from muniment.archive.catalog import CommitState
from muniment.testing.catalog import check_totals

RUN = """
import sys
from muniment.adapters.sql.catalog import open_catalog
from muniment.errors import ConflictError
from muniment.testing.catalog import BEFORE_STORED, claim, commit_name, sealed, seen
from muniment.archive.catalog import CommitState

url, first, step, last = sys.argv[1], *map(int, sys.argv[2:])
catalog = open_catalog(url, "one", "An organisation")
print("ready", flush=True)
for number in range(first, last, step):
    catalog.record_scan([seen(b"%d/%d" % (number, i), i) for i in range(300)])
    print("seen", number, flush=True)
    if claim(catalog, number, max_files=300) is None:
        continue
    for state in BEFORE_STORED:
        catalog.advance(commit_name(number), state, sequence=number)
    catalog.finish(commit_name(number), sealed(catalog, number), leaf_count=300)
    print("stored", number, flush=True)
catalog.close()
"""


def start(url, first, step, last):
    arguments = [sys.executable, "-c", RUN, url, *map(str, (first, step, last))]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def check_whole(url):
    """Nothing is damaged, and no version is in two places."""
    catalog = open_catalog(url, "one", "An organisation")
    check_catalog(catalog._database, "one")
    check_totals(catalog)
    places = Counter()
    for commit in catalog.commits():
        found = list(catalog.files_of(commit.commit_id))
        assert bool(found) == (commit.state is CommitState.STORED)
        places.update(file.scanned.path for file in found)
        places.update(file.scanned.path for file in catalog.claimed(commit.commit_id))
    assert set(places.values()) <= {1}
    return catalog


def test_kill_at_any_moment_loses_nothing_that_was_told(database_url):
    chance = random.Random(5)
    told = Counter()
    for first in range(1, 600_000, 100_000):
        run = start(database_url, first, 1, 10**6)
        assert run.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.02, 0.25))
        run.send_signal(signal.SIGKILL)
        told.update(line.split()[0] for line in run.communicate()[0].splitlines())
        catalog = check_whole(database_url)
        totals = catalog.totals()
        assert totals.commits >= told["stored"]
        assert totals.pending_files + totals.archived_files >= 300 * told["seen"]
        for row in list(catalog.commits()):
            if row.state is not CommitState.STORED:
                catalog.drop_commit(row.commit_id)
        check_totals(catalog)
        catalog.close()
    assert told["stored"], "every run was killed before it had stored anything"


def test_processes_take_turns(database_url):
    open_catalog(database_url, "one", "An organisation").close()
    runs = [start(database_url, first, 3, 31) for first in (1, 2, 3)]
    for run in runs:
        told = run.communicate(timeout=120)[0].splitlines()
        assert run.returncode == 0
        assert sum(line.startswith("seen ") for line in told) == 10
    catalog = check_whole(database_url)
    totals = catalog.totals()
    assert totals.unfinished_commits == 0
    assert totals.archived_files + totals.pending_files == 30 * 300
    catalog.close()


def test_processes_create_one_database(database_url):
    runs = [start(database_url, first, 3, 4) for first in (1, 2, 3)]
    for run in runs:
        run.communicate(timeout=120)
        assert run.returncode == 0
    check_whole(database_url).close()


def test_a_reader_sees_whole_transactions_beside_a_writer(database_url):
    catalog = open_catalog(database_url, "one", "An organisation")
    run = start(database_url, 1, 1, 30)
    while run.poll() is None:
        totals = catalog.recount()
        assert totals.archived_files == 300 * totals.commits
        assert totals.archived_files + totals.pending_files in (
            300 * totals.commits,
            300 * (totals.commits + 1),
        )
        assert sum(1 for _ in catalog.newest()) % 300 == 0
    assert run.returncode == 0
    run.stdout.close()
    assert catalog.totals().commits == 29
    catalog.close()
