"""What clients of the API can rely on, put into its description: schemas, problems, examples and links.

`scenario.toml` has one request for every operation; `recorded.json` is what became of them, as `scripts/record_examples.py` wrote it.
"""
