"""The Gemini API: published messages in and out, over HTTP."""
