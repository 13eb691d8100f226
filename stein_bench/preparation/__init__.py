"""Preparation: turns a configuration into a plan, with everything checked before anything is trained or attacked."""
