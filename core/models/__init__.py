"""The two recurrent models, their checkpoint files and their fingerprint. Importing this package loads no torch."""
