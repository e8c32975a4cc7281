"""People who never existed: a morphable head, procedural skin, eyes and hair, and a small renderer."""
