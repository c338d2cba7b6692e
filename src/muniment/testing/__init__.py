"""Conformance suites, strategies and fakes, shipped so that adapters elsewhere can be held to the same promises."""
