"""Who changed what: every state-changing call leaves one event."""
