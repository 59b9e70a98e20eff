"""Webhooks: the organization's events, signed, to receivers of its own; and to the operator's own services."""
