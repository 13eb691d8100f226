"""From a configuration to a plan in which everything is found and checked before anything is trained or attacked."""
