"""Settings of trainers, read as the objective that they train with and what else of them matters."""
