"""The environment variables that Gradio reads when it is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory


@contextmanager
def gradio_environment() -> Iterator[None]:
    """Turn off Gradio's analytics and keep its files in a private folder, mode 0700.

    Enter it before Gradio is imported. By default Gradio uses `gradio` in the system's temporary
    folder, which belongs to the first user of the machine that started a page.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with TemporaryDirectory(prefix="triseal-page-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield
