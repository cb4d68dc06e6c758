"""An append-only log whose checkpoints are cosigned, and proofs of what it contains."""
