"""What the pages of data owners and of institutions have in common."""
