"""The few small things that every room needs; nothing that belongs to one domain."""
