"""Accounts: organisations and their members, what each may do, API keys, quotas, rate limits and the audit log.

Every object of a service belongs to one organisation, by construction: whoever reads or writes one does so through a
`Principal`, whose organisation every statement filters by. An object of another organisation does not exist.
"""
