"""The page of a training by several lenders, for its coordinator or one of its lenders."""
