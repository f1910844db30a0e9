"""The histograms that the oracles of drift and the tests in src/drift draw alike: the same linear
congruential generator from the same seed."""


class Draw:
    def __init__(self, seed):
        self.state = seed

    def below(self, limit):
        """An integer from 0 to limit - 1."""
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % limit


def counts(draw, kind, bins):
    """One histogram; the first bin is never empty."""
    drawn = []
    for place in range(bins):
        r = draw.below(1 << 31)
        drawn.append(
            {
                "plain": 1 + r % 1000,
                "holes": 0 if r % 3 == 0 else r % 100,
                "large": r * (r % 1000),
                "spread": 0 if r % 5 == 0 else 1 << (r % 40),
                "close": 10**9 + r % 100_000,
            }[kind]
        )
    drawn[0] += 1
    return drawn


KINDS = ["plain", "holes", "large", "spread", "close"]
