"""Other ways to the same rows, each a script with the arguments FILES WINDOW OUTPUT [FIELD...].

FILES is a path or a glob, WINDOW a number of minutes, and FIELDs make up the series. They are
written as their own documentation would have it, and as well as can be; none validates lines but
those that say so.
"""
