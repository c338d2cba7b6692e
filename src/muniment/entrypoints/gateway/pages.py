"""The pages that the gateway itself writes: directory listings and previews of data.

Whatever comes from a DAG is escaped; the pages have no script, and their policy lets none run.
"""

import hashlib
import html
from collections.abc import Iterator, Sequence
from functools import cache
from urllib.parse import quote, quote_from_bytes

from muniment.content.cid import CID
from muniment.content.gateway_path import encode_segment, encode_segments
from muniment.content.unixfs import DirectoryEntry
from muniment.entrypoints.gateway.hosts import Mount

MAX_ENTRIES = 10_000
"""Entries that one listing shows."""
MAX_NAME_BYTES = 1 << 20
"""Bytes of the names that one listing shows: each is there three times, and escaping makes them longer."""
MAX_PREVIEW_CHARS = 64 * 1024

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:60rem}
h1{font-size:1.25rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}
th{text-align:left;font-weight:600}
th,td{padding:.3rem .75rem .3rem 0;border-bottom:1px solid #8884;vertical-align:top;overflow-wrap:anywhere}
td.size,th.size{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.ipfs-hash,pre{font:13px/1.6 ui-monospace,monospace}
pre{overflow:auto;padding:1rem;border:1px solid #8884}
footer,.note{color:#777;font-size:.875rem}
""".strip()

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


@cache
def style_hash() -> str:
    """Return the hash of the pages' style, by which their policy allows it and their entity tags tell versions apart."""
    import base64  # noqa: PLC0415  # once

    return base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def policy() -> str:
    """Return the content security policy of the gateway's own pages: the style above, and nothing else."""
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash()}'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    )


def page_version() -> str:
    """Return a short name of this version of the pages, for entity tags."""
    return hashlib.sha256(_STYLE.encode() + b"1").hexdigest()[:16]


def directory_page(
    mount: Mount,
    segments: tuple[bytes, ...],
    cid: CID,
    entries: Sequence[DirectoryEntry],
    *,
    is_cut: bool,
) -> Iterator[bytes]:
    """Yield a listing, in pieces.

    Args:
        mount: Where the content is.
        segments: The directory's path below the mount.
        cid: The directory.
        entries: What is in it, sorted.
        is_cut: There is more than `entries`.
    """
    title = html.escape(f"/{mount.content.namespace}/{mount.content.root}{_text(segments)}")
    yield _head(title)
    yield f"<h1>Index of {_breadcrumbs(mount, segments)}</h1>\n<p class=note>{cid}</p>\n".encode()
    yield b"<table>\n<tr><th>Name</th><th>CID</th><th class=size>Size</th></tr>\n"
    here = mount.url(segments)
    if segments:
        yield f'<tr><td><a href="{html.escape(here)}/..">..</a></td><td></td><td></td></tr>\n'.encode()
    for start in range(0, len(entries), 256):
        rows = (_row(mount, here, entry) for entry in entries[start : start + 256])
        yield "".join(rows).encode("utf-8", "replace")
    yield b"</table>\n"
    if is_cut:
        yield (
            f"<p class=note>Only {len(entries):,} entries are shown: add ?format=car or ?format=tar to the"
            " address to get all.</p>\n"
        ).encode()
    yield _tail()


def preview_page(title: str, text: str, links: Sequence[CID], download: str) -> Iterator[bytes]:
    """Yield a page that shows what is in a block of data, with its links and the way to its own bytes."""
    yield _head(html.escape(title))
    shown = text[:MAX_PREVIEW_CHARS]
    yield f"<h1>{html.escape(title)}</h1>\n".encode("utf-8", "replace")
    yield f'<p><a href="{html.escape(download)}">Download as it is</a></p>\n'.encode()
    yield f"<pre>{html.escape(shown)}</pre>\n".encode("utf-8", "replace")
    if len(text) > len(shown):
        yield b"<p class=note>Only the beginning is shown.</p>\n"
    if links:
        items = "".join(
            f'<li><a class="ipfs-hash" href="/ipfs/{cid}">{cid}</a></li>\n' for cid in links
        )
        yield f"<h2>Links</h2>\n<ul>\n{items}</ul>\n".encode()
    yield _tail()


def _head(title: str) -> bytes:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    ).encode("utf-8", "replace")


def _tail() -> bytes:
    return b"<footer>Served by Muniment, an IPFS gateway.</footer>\n</body>\n</html>\n"


def _text(segments: Sequence[bytes]) -> str:
    return "".join("/" + name.decode("utf-8", "replace") for name in segments)


def _breadcrumbs(mount: Mount, segments: tuple[bytes, ...]) -> str:
    root, namespace = mount.content.root, mount.content.namespace
    if mount.gateway_host:
        base = f"//{mount.gateway_host}/{namespace}/{root}"
    else:
        base = mount.prefix or f"//{root}"
    crumbs = [
        f'<a href="{html.escape(base if mount.prefix or mount.gateway_host else base + "/")}">{html.escape(root)}</a>'
    ]
    for depth, name in enumerate(segments, start=1):
        url = html.escape(base + encode_segments(segments[:depth]))
        crumbs.append(f'<a href="{url}">{html.escape(name.decode("utf-8", "replace"))}</a>')
    return f"/{namespace}/" + "/".join(crumbs)


def _row(mount: Mount, here: str, entry: DirectoryEntry) -> str:
    name = html.escape(entry.name.decode("utf-8", "replace"))
    url = html.escape(f"{here}/{encode_segment(entry.name)}")
    return (
        f'<tr><td><a href="{url}">{name}</a></td><td>{_hash_link(mount, entry)}{entry.cid}</a></td>'
        f"<td class=size>{_size(entry.tsize)}</td></tr>\n"
    )


def _hash_link(mount: Mount, entry: DirectoryEntry) -> str:
    """Return the beginning of a link to what an entry stands for, by its CID."""
    attributes = 'class="ipfs-hash" translate="no"'
    if mount.is_isolated and not mount.gateway_host:  # this host is a website, not a gateway
        url = f"https://cid.ipfs.tech/#{entry.cid}"
        return f'<a {attributes} href="{url}" target="_blank" rel="noreferrer noopener">'
    host = f"//{mount.gateway_host}" if mount.gateway_host else ""
    filename = quote(quote_from_bytes(entry.name, safe=""), safe="")
    return f'<a {attributes} href="{html.escape(host)}/ipfs/{entry.cid}?filename={filename}">'


def _size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in _UNITS:
        if amount < 999.5 or unit == _UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
