"""The commands of docs/models.md and docs/data.md, and the files that they name: one module for each section."""
