"""The databases that a store may lie in: SQLite in its folder, or PostgreSQL by a URL."""
