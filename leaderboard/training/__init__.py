"""The table of the training track: committed runs, what they are compared with, and its Markdown."""
