"""The YAML files: what is run. They ship as package data."""
