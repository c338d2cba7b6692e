"""Benchmarks: Muniment beside the programs that people use today, in one run on one machine.

``make bench BENCH=archive`` and ``make bench BENCH=scan``; `docs/benchmarks.md` says what is measured.
"""
