"""The commands of `siprec-ledger` that need room of their own, by what they are about."""
