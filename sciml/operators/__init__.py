"""Operators, one module a family. Import from the modules' public names re-exported here."""
