"""How fast taskplane is on this machine, beside what gRPC and the database alone can do; see README.md."""
