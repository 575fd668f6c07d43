"""`python -m hostup_mcp`: the same as the console script `hostup-mcp`."""

from hostup_mcp.cli.main import main

if __name__ == "__main__":
    main()
