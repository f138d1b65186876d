"""Workers: what differs between them, how much each counts, and when they meet."""
