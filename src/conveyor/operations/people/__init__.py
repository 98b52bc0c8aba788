"""Users, tokens, signers and workers."""
