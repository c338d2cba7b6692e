"""The catalogue in a SQL database, through SQLAlchemy Core: SQLite, and built for PostgreSQL."""
