"""The HostUp REST API v2: transport, client, models and errors."""
