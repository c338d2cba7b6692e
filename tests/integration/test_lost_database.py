"""A lost database must never lead to a second history."""

import os

import pytest

from muniment.errors import ConflictError, KeyUnavailableError


def lose_database(home):
    home.archive.close()
    for path in (home.folder / "home").glob("catalogue.sqlite3*"):
        path.unlink()
    home.reopen()


def test_nothing_is_archived_before_the_catalogue_knows_all_commits(home, check_commit):
    home.write(a=b"one")
    home.scan()
    home.run()
    first = home.ids
    lose_database(home)
    home.write(b=b"two")
    home.scan()
    with pytest.raises(ConflictError, match=f"does not know, the first is {first[0]}"):
        home.run()
    assert os.listdir(home.archive.store.commits) == first
    home.archive.rebuild()
    home.run()
    (second,) = set(home.ids) - set(first)
    assert home.archive.catalog.commit(second).sequence == 2
    previous = home.archive.previous_of(second)
    check_commit(home.path(second), previous=previous, check_chain=True)


def test_without_keys_the_chain_alone_is_rebuilt_and_goes_on(home):
    home.write(a=b"one")
    home.scan()
    home.run()
    (first,) = home.ids
    lose_database(home)
    identity = home.archive.keys / "identity.txt"
    identity.rename(identity.with_suffix(".away"))
    report = home.archive.rebuild()
    assert [commit_id for commit_id, _problem in report.problems] == [first]
    row = home.archive.catalog.commit(first)
    assert (row.sequence, row.leaf_count) == (1, 2)
    assert list(home.archive.catalog.files_of(first)) == []
    assert home.archive.catalog.totals() == home.archive.catalog.recount()
    with pytest.raises(KeyUnavailableError):
        home.archive.open_keyring(first)
    home.write(b=b"two")
    home.scan()
    home.run()
    assert home.archive.catalog.chain_head().sequence == 2
