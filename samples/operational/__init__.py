"""Operational databases as applications have them: schemas, seeded data, and transactions that go on."""
