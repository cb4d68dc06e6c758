"""The server's rooms: routes, application state, storage, evaluation, authentication, errors."""
