"""Programs for developers: installation, test runs, the demo model, translations."""
