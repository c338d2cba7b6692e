"""The tables as SQLAlchemy Core sees them: what the last step of `migrations.py` leaves behind.

A table stands behind those that its rows refer to. Indexes, defaults and foreign keys are stated in the migrations alone. `docs/reference/database.md` says what each column
means.
"""

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, SmallInteger, Table, Text

metadata = MetaData()

organizations = Table(
    "organizations",
    metadata,
    Column("org_id", BigInteger, primary_key=True),
    Column("id", Text),
    Column("name", Text),
)

totals = Table(
    "totals",
    metadata,
    Column("org_id", BigInteger, primary_key=True),
    Column("pending_files", BigInteger),
    Column("pending_bytes", BigInteger),
    Column("archived_files", BigInteger),
    Column("archived_bytes", BigInteger),
    Column("sealed_bytes", BigInteger),
    Column("commits", BigInteger),
    Column("unfinished_commits", BigInteger),
    Column("timestamps_queued", BigInteger),
    Column("timestamps_pending", BigInteger),
    Column("not_backed_up", BigInteger),
    Column("problems", BigInteger),
)

roots = Table(
    "roots",
    metadata,
    Column("org_id", BigInteger, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
)

problems = Table(
    "problems",
    metadata,
    Column("org_id", BigInteger, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("message", Text),
    Column("noticed_at", BigInteger),
)

commits = Table(
    "commits",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("org_id", BigInteger),
    Column("commit_id", Text),
    Column("state", Text),
    Column("claim_expires_at", BigInteger),
    Column("created_at", BigInteger),
    Column("chunk_bytes", BigInteger),
    Column("sequence", BigInteger),
    Column("merkle_root", LargeBinary),
    Column("manifest_sha256", LargeBinary),
    Column("leaf_count", BigInteger),
    Column("source_bytes", BigInteger),
    Column("sealed_bytes", BigInteger),
    Column("commit_cid", Text),
    Column("timestamp", Text),
    Column("bitcoin_height", BigInteger),
    Column("bitcoin_time", BigInteger),
    Column("backed_up_at", BigInteger),
)

files = Table(
    "files",
    metadata,
    Column("file_id", BigInteger, primary_key=True),
    Column("org_id", BigInteger),
    Column("path", LargeBinary),
    Column("kind", Text),
    Column("size", BigInteger),
    Column("mode", BigInteger),
    Column("mtime_ns", BigInteger),
    Column("ctime_ns", BigInteger),
    Column("inode", BigInteger),
    Column("target", LargeBinary),
    Column("latest", SmallInteger),
    Column("held", SmallInteger),
    Column("commit_number", BigInteger),
    Column("leaf", BigInteger),
    Column("sequence", BigInteger),
    Column("digest", LargeBinary),
    Column("media_type", Text),
    Column("content_commit_id", Text),
    Column("content_leaf", BigInteger),
    Column("content_offset", BigInteger),
    Column("sealed_size", BigInteger),
    Column("packed_size", BigInteger),
    Column("compression", Text),
)
