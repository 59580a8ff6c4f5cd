"""Who may call: `keyring` answers that from memory for each call, `keys` makes, rotates and revokes keys."""
