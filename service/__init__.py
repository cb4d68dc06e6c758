"""The scoring server. Imports point down: api, jobs, operations, applications, execution, storage,
http."""
