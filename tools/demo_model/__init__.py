"""How the bundled demo model is made, measured and packed."""
