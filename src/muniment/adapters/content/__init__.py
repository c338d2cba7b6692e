"""Files and CARs into the block store and out of it: what `muniment content` does."""
