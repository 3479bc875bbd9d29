"""The REST API: views parse, call one service, and answer with a document.

Imports everything below it in `transcription`; no worker imports it.
"""
