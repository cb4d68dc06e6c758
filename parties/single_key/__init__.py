"""Sessions with an engine whose one key holder gives the key to the other parties."""
