"""Declare a star schema, get a lakehouse."""
