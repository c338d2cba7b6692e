"""What people ask of an archive, whoever passes it on: the command line for one archive, the service for many.

Each module does one thing with an open `bootstrap.Archive`, tells how far it has come, and returns what there is to say; how that
is shown is the entry points' business.
"""
