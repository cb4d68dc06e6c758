"""A witness: an independent process that evaluates every result again and signs it, or refuses."""
