"""Families of students, stacked."""
