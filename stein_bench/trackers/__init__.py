"""Experiment trackers: a report logged to wandb, mlflow or TensorBoard, one run per variant."""
