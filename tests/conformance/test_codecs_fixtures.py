"""The codecs over the public fixtures of the IPLD project (github.com/ipld/codec-fixtures), beside the project's own folder."""

import json
from pathlib import Path

import pytest

from muniment.content import codecs
from muniment.content.cid import CID
from muniment.errors import FormatError

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "ipld-codec-fixtures"
NUMBERS = {"dag-cbor": codecs.DAG_CBOR, "dag-json": codecs.DAG_JSON, "dag-pb": codecs.DAG_PB}

pytestmark = pytest.mark.skipif(
    not FIXTURES.is_dir(), reason=f"the public fixtures of IPLD's codecs are not at {FIXTURES}"
)


def positive_folders():
    folder = FIXTURES / "fixtures"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def negative_cases(kind):
    cases = []
    for path in sorted(FIXTURES.glob(f"negative-fixtures/*/{kind}/*.json")):
        codec = path.parent.parent.name
        for case in json.loads(path.read_bytes()):
            cases.append(pytest.param(codec, case, id=f"{codec}-{path.stem}-{case['name']}"))
    return cases


def test_all_are_there():
    assert len(positive_folders()) == 128
    assert len(negative_cases("decode")) >= 11
    assert len(negative_cases("encode")) >= 40


@pytest.mark.parametrize("folder", positive_folders(), ids=lambda folder: folder.name)
def test_every_form_is_made_from_every_other(folder):
    forms = [(path.stem, NUMBERS[path.suffix[1:]], path.read_bytes()) for path in folder.iterdir()]
    assert len(forms) >= 2
    for _, codec, block in forms:
        value = codecs.decode(codec, block)
        for cid, other, expected in forms:
            made = codecs.encode(other, value)
            assert made == expected
            assert str(CID.of(other, made)) == cid


@pytest.mark.parametrize(("codec", "case"), negative_cases("decode"))
def test_bytes_that_nobody_may_read(codec, case):
    for strict in (True, False):
        with pytest.raises(FormatError):
            codecs.decode(NUMBERS[codec], bytes.fromhex(case["hex"]), strict=strict)


@pytest.mark.parametrize(("codec", "case"), negative_cases("encode"))
def test_values_that_nobody_may_write(codec, case):
    text = json.dumps(case["dag-json"]).encode()
    value = codecs.decode(codecs.DAG_JSON, text, strict=False)
    with pytest.raises(FormatError):
        codecs.encode(NUMBERS[codec], value)
