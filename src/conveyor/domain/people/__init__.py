"""Who acts: identities and their rights, keys and signatures."""
