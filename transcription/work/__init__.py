"""Held work: rows that processes claim, hold for a while, hand back, or lose."""
