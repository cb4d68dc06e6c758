"""Common parts of the pages of data owners and of institutions."""
