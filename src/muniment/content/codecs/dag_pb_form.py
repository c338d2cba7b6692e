"""DAG-PB in the data model (https://ipld.io/specs/codecs/dag-pb/spec/#logical-format).

A node is `{"Data": bytes, "Links": [{"Hash": link, "Name": text, "Tsize": integer}]}`; `Data`, `Name` and `Tsize` may be absent,
nothing is ever null, and nothing else may be there.
"""

from itertools import pairwise

from muniment.content.cid import CID
from muniment.content.codecs.values import Value, check_size
from muniment.content.dag_pb import PBLink, decode_node, encode_node
from muniment.errors import FormatError

_MAX_TSIZE = (1 << 63) - 1
_NODE_FIELDS = {"Data", "Links"}
_LINK_FIELDS = {"Hash", "Name", "Tsize"}


def decode_dag_pb(data: bytes) -> Value:
    """Read a node.

    Raises:
        FormatError: The bytes are not one, or a link's name is not UTF-8.
    """
    node = decode_node(data)
    form: dict[str, Value] = {} if node.data is None else {"Data": node.data}
    form["Links"] = [_link_form(link) for link in node.links]
    return form


def encode_dag_pb(value: Value) -> bytes:
    """Return the canonical bytes of a node.

    Raises:
        FormatError: The value has not the form of one.
    """
    if not isinstance(value, dict) or not value.keys() <= _NODE_FIELDS:
        raise FormatError("expected a DAG-PB node: a map of Data and Links")
    links, data = value.get("Links"), value.get("Data", b"")
    if not isinstance(links, list):
        raise FormatError("expected a list as Links of a DAG-PB node")
    if not isinstance(data, bytes):
        raise FormatError("expected bytes as Data of a DAG-PB node")
    children = [_link(link) for link in links]
    if any((after.name or b"") < (before.name or b"") for before, after in pairwise(children)):
        raise FormatError("expected the Links of a DAG-PB node in the order of their names")
    block = encode_node(children, data if "Data" in value else None)
    check_size(block, "a DAG-PB node")
    return block


def _link_form(link: PBLink) -> dict[str, Value]:
    form: dict[str, Value] = {"Hash": link.cid}
    if link.name is not None:
        try:
            form["Name"] = link.name.decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("DAG-PB node has a link whose name is not UTF-8") from None
    if link.tsize is not None:
        form["Tsize"] = link.tsize
    return form


def _link(value: Value) -> PBLink:
    if not isinstance(value, dict) or not value.keys() <= _LINK_FIELDS:
        raise FormatError("expected a DAG-PB link: a map of Hash, Name and Tsize")
    cid, name, tsize = value.get("Hash"), value.get("Name", ""), value.get("Tsize", 0)
    if not isinstance(cid, CID):
        raise FormatError("expected a link as Hash of a DAG-PB link")
    if not isinstance(name, str):
        raise FormatError("expected text as Name of a DAG-PB link")
    if not isinstance(tsize, int) or isinstance(tsize, bool) or not 0 <= tsize <= _MAX_TSIZE:
        raise FormatError("expected an integer from 0 to 2^63-1 as Tsize of a DAG-PB link")
    try:
        raw_name = name.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError("expected text as Name of a DAG-PB link, got a lone surrogate") from None
    return PBLink(cid, raw_name if "Name" in value else None, tsize if "Tsize" in value else None)
