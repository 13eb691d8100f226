"""Wrong input of every kind, in tables: what a user gives, and the one line that comes back."""
