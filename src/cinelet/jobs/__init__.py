"""Work that outlives the process: the database, and the ledger of generations in it."""
