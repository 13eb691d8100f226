"""Parts that other people bring: their code found, imported and called, from files, modules, objects and packages."""
