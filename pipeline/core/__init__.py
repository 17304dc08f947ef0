"""What the words of the contract mean: events, durations, rows, silences, tallies, errors.

Here belong values and the rules about them, as pure functions and small classes. Nothing here
imports Beam, opens a file or knows where a line came from. A rule of the contract is written down
here once; the other folders only apply it.
"""
