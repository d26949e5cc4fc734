"""Parts of a table in this process: what those of a cluster must agree with."""

import numpy as np

from fastar._data.parts import Parts, merge_siblings


class LocalParts(Parts):
    def __init__(self, parts, n_shards=8, name="X"):
        super().__init__(name, n_shards)
        self.parts = list(parts)

    @classmethod
    def of(cls, tables, n_shards=8):
        starts = np.cumsum([0, *map(len, tables)]).tolist()
        return cls(list(zip(starts, tables, strict=False)), n_shards)

    def __getitem__(self, which):
        return LocalParts(self.parts[which], self.n_shards, self.name)

    def map(self, call):
        return [call(part) for part in self.parts]

    def reduce(self, call, merge, *shared):
        found = {(0, k): call(part, *shared) for k, part in enumerate(self.parts)}
        (result,) = merge_siblings(found, len(self.parts), merge).values()
        return result

    def regroup(self, split, join, n):
        pieces = self.map(split)
        made = [join(k, [each[k] for each in pieces]) for k in range(n)]
        return LocalParts(made, self.n_shards, self.name)
