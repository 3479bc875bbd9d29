"""How pages write and read moments, by language."""
