"""The contract of a plugin, run over what one file declares."""
