"""The scoring server.

Packages import only those listed after them: api, jobs, operations, applications, execution,
storage, http.
"""
