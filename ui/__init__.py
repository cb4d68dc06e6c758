"""The browser demonstration: forms from the schema, the five steps, and the message log."""

from ui.gradio_stubs import write_no_stubs

write_no_stubs()
