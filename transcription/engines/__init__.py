"""Whisper models behind one protocol, and the plan that says which run where.

Imports no Django, rows or media; an engine's module is imported in its slot only.
"""
