"""The settings: read from four layers, validated once, then frozen."""
