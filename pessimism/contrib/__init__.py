"""Published neighbors that nothing else here builds on."""
