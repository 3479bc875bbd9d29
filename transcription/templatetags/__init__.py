"""What the pages of the admin show beside Django's own."""
