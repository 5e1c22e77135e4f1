"""Servers on the real model for the clients."""

import pytest


@pytest.fixture(scope="session")
def clients_server(server_factory, model_path):
    """A server for the scripts; its second name is the one in docs/clients.md."""
    server = server_factory("--offline", "--alias", "qwen2.5-0.5b-instruct", model=model_path)
    yield server
    server.end()


@pytest.fixture(scope="session")
def brief_server(server_factory, model_path):
    """A server whose answers are short: recorded requests often have no limit."""
    server = server_factory("--offline", "--max-tokens", 96, model=model_path)
    yield server
    server.end()
