"""Notices of a denial to the applicant, as HTML and PDF: no HTTP, no pages."""
