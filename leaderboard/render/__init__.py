"""What is written from the document: Markdown, tables and the site."""
