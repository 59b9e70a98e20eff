"""Enrollment, presence and administration of runners."""
