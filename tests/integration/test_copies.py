"""Copies name the member that holds their content; a wrong place is noticed before anything is decrypted."""

import msgspec
import pytest

from muniment.adapters.commit_folder import CommitFolder, SiblingCommits
from muniment.errors import FormatError, MissingDataError


def test_a_copy_must_name_a_member_where_it_lies(home):
    home.write(a=b"the same " * 100, b=b"the same " * 100)
    home.scan()
    home.run()
    (commit_id,) = home.ids
    files = list(home.archive.catalog.files_of(commit_id))
    place = next(file.place for file in files if file.place and file.place.leaf != file.leaf)
    with CommitFolder(home.path(commit_id)) as folder:
        siblings = SiblingCommits(folder)
        assert len(siblings.open_member(place)(place.sealed_size)) == place.sealed_size
        for change in ({"offset": place.offset + 512}, {"leaf": place.leaf + 1}, {"offset": 100}):
            with pytest.raises(FormatError, match="does not lie there"):
                siblings.open_member(msgspec.structs.replace(place, **change))
        with pytest.raises(MissingDataError, match="not here"):
            siblings.open_member(
                msgspec.structs.replace(place, commit_id="20200101T000000Z-aaaaaaaa")
            )
