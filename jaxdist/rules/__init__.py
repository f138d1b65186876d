"""Rules: how W contributions become one although some are bad. One rule per file."""
