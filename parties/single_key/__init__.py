"""Sessions for engines with one key holder, which gives the key to the other parties."""
