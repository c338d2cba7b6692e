"""The archive: eight stages from files to a sealed, proven, signed and timestamped commit, and back."""
