"""The only door to the database, and the only SQL."""
