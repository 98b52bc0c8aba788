"""Care of a store: initialisation, opening, backup, restore, inspection, repair, garbage collection."""
