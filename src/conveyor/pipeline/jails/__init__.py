"""Jails: where what a project brings runs, apart from the worker and from every other run."""
