"""What Gradio reads from the environment, and only while it is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory


@contextmanager
def gradio_environment() -> Iterator[None]:
    """Have Gradio report to nobody and keep its files in a folder of this process, mode 0700.

    To be entered before Gradio is imported. By default the folder would be `gradio` in the
    temporary one, which belongs to the first user of the machine that started a page.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with TemporaryDirectory(prefix="triseal-page-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield
