"""The page that shows the parties' own pages side by side."""
