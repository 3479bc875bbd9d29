"""Files of strangers: opened and decoded in a process of their own. Subtitles.

Imports no rows and no services.
"""
