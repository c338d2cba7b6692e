"""kill -9 in the middle of a backup into a folder, and the next run."""

import subprocess
import sys
from signal import SIGKILL

from muniment.adapters.object_storage import open_storage
from muniment.archive.backup import Action, backup_commit, list_commits, verify_backup
from muniment.testing.object_storage import sample_commit

COMMIT = "20260102T030405Z-abcdefgh"
CONTENTS = {f"{COMMIT}_a{letter}": letter.encode() * (3 << 20) for letter in "abcde"}
PROGRAM = """
import io, os, signal, sys
from dataclasses import replace
from muniment.adapters.object_storage import open_storage
from muniment.archive.backup import backup_commit
from muniment.testing.object_storage import sample_commit

class Deadly(io.BytesIO):
    def read(self, size=-1):
        if self.tell() >= 1 << 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(size)

commit, folder = sys.argv[1:]
contents = {f"{commit}_a{letter}": letter.encode() * (3 << 20) for letter in "abcde"}
files = sample_commit(commit, contents)
files[f"{commit}_ac"] = replace(files[f"{commit}_ac"], open=lambda: Deadly(contents[f"{commit}_ac"]))
backup_commit(files, commit, open_storage(folder))
"""


def test_a_killed_backup_goes_on_where_it_was(tmp_path):
    killed = subprocess.run([sys.executable, "-c", PROGRAM, COMMIT, str(tmp_path)], check=False)
    assert killed.returncode == -SIGKILL
    storage = open_storage(str(tmp_path))
    assert not list_commits(storage)[0].complete
    assert len(list(tmp_path.rglob(".*.part"))) == 1
    report = backup_commit(sample_commit(COMMIT, CONTENTS), COMMIT, storage)
    assert report.names(Action.KEPT) == (f"{COMMIT}_aa", f"{COMMIT}_ab")
    assert report.names(Action.SENT) == (
        f"{COMMIT}_ac",
        f"{COMMIT}_ad",
        f"{COMMIT}_ae",
        "manifest.json",
    )
    assert list(tmp_path.rglob(".*.part")) == []
    verify_backup(COMMIT, storage)
