"""How requests come in: HTTP, bodies, forms, languages, errors, pages and static files.

Knows no app: what a request is about is the business of its view.
"""
