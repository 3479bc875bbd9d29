"""What is done with tasks, each change of a row as one conditional UPDATE.

Imports models, held work, documents, engines, media and storage; knows no request.
"""
