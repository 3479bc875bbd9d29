"""Rows to documents: what clients see of a task, a result, a callback and its event.

A document is a dict of JSON values, its members in the order in which they are sent.
The API answers with documents and callbacks carry them; the serializers of the API only
describe them for OpenAPI. Sentences are in the language of the current thread.
Addresses begin with the `site` that the caller passes.

Nothing here knows HTTP requests or the API package, so that workers can use it.
"""
