"""What reactions of both forms share: policies, which the subscription runs, and workers."""
