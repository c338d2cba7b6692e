"""Files that come in several parts at once: each part is an upload of its own, which waits until all are joined to one file.

It is the extension *concatenation* of the tus protocol, and its field `Upload-Concat`.
"""

from collections.abc import Sequence
from contextlib import ExitStack, closing

from muniment.accounts.organizations import Act
from muniment.errors import ConflictError, UsageError
from muniment.uploads.receiving import Receiver
from muniment.uploads.upload import PART, Upload

PARTS_MAX = 100
_FINAL = "final;"


def parse_concat(text: str) -> list[str]:
    """Return the ids of the uploads that are to be joined; none for a part, and for a file that has none.

    Raises:
        UsageError: It is malformed, or names an upload twice, or too many.
    """
    if text in ("", PART):
        return []
    found = [address.rstrip("/").rpartition("/")[2] for address in text[len(_FINAL) :].split()]
    if not text.startswith(_FINAL) or not 0 < len(found) <= PARTS_MAX:
        raise UsageError(
            f"expected Upload-Concat: {PART}, or {_FINAL} with the addresses of at most {PARTS_MAX} parts"
        )
    if len(set(found)) < len(found) or not all(found):
        raise UsageError("expected each part in Upload-Concat once")
    return found


def join(receiver: Receiver, act: Act, upload: Upload, parts: Sequence[Upload]) -> Upload:
    """Make one file of parts that have all arrived, and let go of the parts; nobody brings bytes of them meanwhile.

    While it goes on, room is taken for the parts and for the file.

    Raises:
        ConflictError: One is no part, or has not arrived.
        QuotaExceededError: There is no room in the quota.
        StorageFullError: There is no room on the disk.
    """
    with ExitStack() as opened:
        files = [opened.enter_context(closing(receiver.resume(part))) for part in parts]
        for part, file in zip(parts, files, strict=True):
            if not part.is_part or file.size_bytes != part.size_bytes:
                raise ConflictError(f"the upload {part.upload_id} is no part that has arrived")
        whole = opened.enter_context(closing(receiver.begin(upload)))
        try:
            for file in files:
                for piece in file.pieces():
                    whole.write([piece])
                    whole.digest([piece])
            done = receiver.finish(act, upload, whole)
        except BaseException:
            receiver.give_up(act, upload)
            raise
        for part in parts:
            receiver.cancel(act, part)
    return done
