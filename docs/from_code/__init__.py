"""The pages of the reference, written from the code: pure functions that return Markdown."""
