"""Thin ways in: parse, call, render."""
