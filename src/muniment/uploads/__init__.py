"""Uploads: files that clients bring, held until they are archived.

A file is received into a place where nobody looks, checked, made durable, and moved in one step to where the next catalogue run finds it.
What was acknowledged is on the disk; what was not leaves nothing behind.
"""
