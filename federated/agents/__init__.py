"""The processes of a training: a coordinator and its lenders, with their files and transport."""
