"""Qflow runs automation flows and leaves a history that an outsider can verify."""
