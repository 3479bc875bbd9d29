"""The processes: the stack and its supervisor, launcher, slots, dispatcher, Flower.

Imports everything but `transcription.api`.
"""
