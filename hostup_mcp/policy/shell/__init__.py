"""The grammar of commands: text to tree, and tree to text."""
