"""Pins: what an organisation wants to be kept, how far that has come, and how pins are found again.

A *pin* is one request to keep the DAG below a CID; the same CID can be pinned several times. `model` has the words, `filters` and `times`
what a list can be asked for, `ports` what a store of pins and an engine that keeps content must do, `lists` pins as files.
"""
