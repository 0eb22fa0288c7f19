"""Builds a checkout's environment: .venv, compiled llama.cpp, peers. Standard library only."""
