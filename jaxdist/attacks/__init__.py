"""Attack: what Byzantine workers send, so that robustness can be shown and tested."""
