"""A small bookshop with flaws of its own, to scan where nothing real can be harmed. Never listens beyond loopback."""
