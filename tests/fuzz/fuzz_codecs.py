"""Coverage-guided fuzzing of everything that reads blocks and CARs: `python tests/fuzz/fuzz_codecs.py -max_total_time=60`.

Needs atheris; takes the options of libFuzzer. The first byte of an input chooses the reader, the rest is read. Any error but
IntegrityError (and so FormatError) is a finding, and so is strict reading that would not write the same bytes again.
"""

import io
import sys

import atheris

with atheris.instrument_imports(include=["muniment.content"]):
    from muniment.content import codecs
    from muniment.content.car import CarReader
    from muniment.content.cid import CID
    from muniment.content.links import block_links
    from muniment.errors import FormatError, IntegrityError

CODECS = sorted(codecs.KNOWN)
STRICT = (codecs.DAG_CBOR, codecs.DAG_JSON)


def read_car(data):
    try:
        list(CarReader(io.BytesIO(data), max_blocks=1000))
    except IntegrityError:
        return


def read_block(codec, data, strict):
    try:
        value = codecs.decode(codec, data, strict=strict)
    except FormatError:
        return
    if strict and codec in STRICT:
        assert codecs.encode(codec, value) == data
    if codec in codecs.LINKING:
        assert list(block_links(CID.of(codec, data), data)) == list(codecs.links(value))


def fuzz_one(data):
    if not data:
        return
    choice, data = data[0], data[1:]
    if choice % 8 >= len(CODECS):
        read_car(data)
    else:
        read_block(CODECS[choice % 8], data, strict=choice < 128)


if __name__ == "__main__":
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()
