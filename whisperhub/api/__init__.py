"""What every REST API here is made of: fields, pages, JSON bodies. Knows no app."""
