"""Connections to servers of other people."""
