"""Log-densities, gradients and draws of the output distributions."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport (
    PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext,
)
from cpython.ref cimport Py_DECREF, Py_INCREF
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t

from conditionals cimport (
    code_run, conditional_spec, draw_function, draw_name, draw_of, draw_spec, earlier_codes, feature_spec,
    region_spec, walked_rows, weigh_function, weigh_lanes_function,
)

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa, no_memory

cdef extern from "conditionals.h" nogil:
    int FASTAR_COMPONENTS, FASTAR_OBSERVED, FASTAR_SAMPLED, FASTAR_WEIGHTED, FASTAR_BOUNDED
    ctypedef struct conditionals_table:
        void (*log_prob)(int64_t, int64_t, conditional_spec, const void*, const void*, void*,
                         double*) noexcept nogil
        void (*gradient)(int64_t, int64_t, conditional_spec, const void*, const void*, const void*, void*,
                         double*, void*) noexcept nogil
        draw_function draw
        draw_function mode
        weigh_function weigh
        weigh_lanes_function weigh_lanes
    const conditionals_table* conditionals_for(int isa, bint is_double)

cdef const conditionals_table* f32 = conditionals_for(isa, False)
cdef const conditionals_table* f64 = conditionals_for(isa, True)

KINDS = ("bernoulli", "categorical", "gaussian", "laplace", "gaussian_mixture", "laplace_mixture",
         "logistic_mixture", "poisson", "negative_binomial", "integer")
OUTPUTS = (1, 1, 2, 2, 3, 3, 3, 1, 2, 3)  # of a feature of each kind, of each of its levels or components
MIXTURES = [place for place, kind in enumerate(KINDS) if kind.endswith("_mixture") or kind == "integer"]
MAX_COMPONENTS = FASTAR_COMPONENTS
# How a walk treats a code; OBSERVED is 0.
OBSERVED, SAMPLED, WEIGHTED, BOUNDED = FASTAR_OBSERVED, FASTAR_SAMPLED, FASTAR_WEIGHTED, FASTAR_BOUNDED
FEATURE = np.dtype([("kind", np.int32), ("count", np.int32), ("unit", np.float64), ("floor", np.float64),
                    ("low", np.float64), ("high", np.float64), ("parent", np.int32), ("applies", np.int32),
                    ("last", np.int32), ("last_count", np.int32)])


cdef enum:
    ROWS = 16  # that a kernel takes at once: features of all of them share vectors


cdef int64_t rows_at_once(int64_t n, int n_threads) noexcept:
    return max(1, min(ROWS, n // n_threads))


cdef void free_draw(object capsule) noexcept:
    PyMem_Free(PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)))
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef class Kernel:
    """The compiled side of a table's conditionals.

    Parameters
    ----------
    features : array (D,) of FEATURE
        What each feature's density is: its place in KINDS, the count of its levels or components, the
        unit of its codes and the floor of its variance or scale; which feature decides on it, and how
        (src/kernels/conditionals.h).
    n_noise : int
        Numbers that one draw uses up.
    may_miss : bool
        Codes may be NaN; these have no density.

    Attributes
    ----------
    output_offsets : int64 array (D + 1,)
        Feature d's outputs are output_offsets[d] .. output_offsets[d + 1] - 1 of a row of raw.
    """

    cdef readonly int64_t n_noise
    cdef readonly object output_offsets
    cdef object features
    cdef const int64_t[::1] outputs
    cdef const int32_t[::1] stretches
    cdef bint may_miss

    def __init__(self, features, int64_t n_noise, bint may_miss):
        if features.dtype != FEATURE or not features.flags.c_contiguous or features.ndim != 1:
            raise ValueError("features must be a contiguous vector of FEATURE")
        if not len(features) or not ((features["kind"] >= 0) & (features["kind"] < len(KINDS))).all():
            raise ValueError("features must hold at least one, and known kinds alone")
        is_mixture = np.isin(features["kind"], MIXTURES)
        is_counted = is_mixture | (features["kind"] == KINDS.index("categorical"))
        if (features["count"][is_counted] < 1).any() or (features["count"][is_mixture] > MAX_COMPONENTS).any():
            raise ValueError("features must have a level or component each, and mixtures at most "
                             f"{MAX_COMPONENTS} components")
        parent = features["parent"]
        if ((parent < 0) | (parent > np.arange(len(features)))).any() or (features["last_count"] < 0).any() or (
            (parent > 0) & (features["last_count"] > features["count"])
        ).any():
            raise ValueError("a parent must come before its feature, and leave it no more levels than count")
        count = np.where(is_counted, features["count"].astype(np.int64), 1)
        widths = np.array(OUTPUTS)[features["kind"]] * count
        self.output_offsets = np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)
        self.output_offsets.flags.writeable = False
        self.outputs = self.output_offsets
        self.features = features
        self.n_noise = n_noise
        self.may_miss = may_miss
        starts = np.ones(len(features), bool)
        same = features[["kind", "floor"]]
        starts[1:] = (same[1:] != same[:-1]) | (widths[1:] != widths[:-1])
        self.stretches = np.append(np.flatnonzero(starts), len(features)).astype(np.int32)

    cdef conditional_spec spec(self, double temperature):
        cdef const unsigned char[::1] features = self.features.view(np.uint8)
        return conditional_spec(<const feature_spec*>&features[0], &self.outputs[0],
                                self.stretches.shape[0] - 1, &self.stretches[0], self.may_miss, temperature,
                                1, 0, region_spec(NULL, NULL, NULL, self.n_noise))

    cdef check(self, int64_t n, int64_t width, codes):
        cdef int64_t D = len(self.features)
        if codes.shape[0] != n or codes.shape[1] != D:
            raise ValueError("raw and codes, or codes and features, differ in shape")
        if width != self.outputs[D]:
            raise ValueError(f"raw must have {self.outputs[D]} outputs a row. Got {width} instead.")

    def log_prob(self, const floating[:, ::1] raw, const floating[:, ::1] codes, int n_threads):
        """Return logp (n, D) and its row sums (n,) in double precision."""
        cdef const conditionals_table* kernels = f32 if floating is float else f64
        cdef int64_t n = raw.shape[0], D = codes.shape[1], rows = rows_at_once(n, n_threads), i, r
        self.check(n, raw.shape[1], codes)
        cdef floating[:, ::1] logp = aligned_empty((n, D), np.float32 if floating is float else np.float64)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads):
            r = i * rows
            kernels.log_prob(min(rows, n - r), D, spec, &raw[r, 0], &codes[r, 0], &logp[r, 0], &total[r])
        return logp.base, total.base

    def gradient(self, const floating[:, ::1] raw, const floating[:, ::1] codes,
                 const floating[::1] scale, int n_threads):
        """Return the row sums of logp (n,) and scale[r] * d logp / d raw (n, sum P)."""
        cdef const conditionals_table* kernels = f32 if floating is float else f64
        cdef int64_t n = raw.shape[0], D = codes.shape[1], rows = rows_at_once(n, n_threads), i, r
        self.check(n, raw.shape[1], codes)
        if scale.shape[0] != n:
            raise ValueError("raw and scale differ in the number of rows")
        dtype = np.float32 if floating is float else np.float64
        cdef floating[:, ::1] logp = aligned_empty((n_threads, rows * D), dtype)
        cdef floating[:, ::1] graw = aligned_empty((n, raw.shape[1]), dtype)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for i in prange((n + rows - 1) // rows, nogil=True, num_threads=n_threads):
            r = i * rows
            kernels.gradient(min(rows, n - r), D, spec, &raw[r, 0], &codes[r, 0], &scale[r],
                             &logp[threadid(), 0], &total[r], &graw[r, 0])
        return total.base, graw.base

    def draw(self, dtype, double temperature, regions=None, double top_p=1, int64_t top_k=0):
        """Return the capsule with which a network draws values of this conditional.

        It points into this object, which lives as long as the capsule. regions: (begin (R + 1,), runs (m, 2),
        further (m,)) of the regions whose numbers are the codes that are BOUNDED: region i is the codes
        runs[j, 0] to runs[j, 1] for j from begin[i] to begin[i + 1] - 1, rising, and leads to a region of the
        next feature whose number is further[j] larger. top_p, top_k: levels of SAMPLED codes are the most
        probable ones that have the share top_p of the mass, and top_k at most, where that is not 0.
        """
        capsule = self.capsule(dtype, temperature, self.n_noise, 0, regions)
        cdef draw_spec* made = <draw_spec*>PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))
        made.spec.top_p, made.spec.top_k = top_p, top_k
        return capsule

    def mode(self, dtype):
        """Return the capsule with which a network takes the most probable code between two.

        These bounds stand in for the noise of each feature. It points into this object, which lives as long.
        """
        return self.capsule(dtype, 1, 2, 1, None)

    cdef capsule(self, dtype, double temperature, int64_t n_noise, bint mode, regions):
        cdef bint is_double = dtype != np.float32
        cdef const conditionals_table* kernels = f64 if is_double else f32
        cdef draw_spec* draw = <draw_spec*>PyMem_Malloc(sizeof(draw_spec))
        if draw == NULL:
            raise no_memory(sizeof(draw_spec))
        draw[0] = draw_spec(kernels.draw, kernels.weigh, kernels.weigh_lanes, n_noise, self.spec(temperature))
        if mode:
            draw.function = kernels.mode
        capsule = PyCapsule_New(draw, draw_name(is_double), free_draw)
        owners = (self, regions)  # what the draw points to lives as long as the capsule
        Py_INCREF(owners)
        PyCapsule_SetContext(capsule, <void*>owners)
        if regions is not None:
            begin, runs, further = regions
            draw.spec.regions = regions_of(begin, runs, further, n_noise)
        return capsule


cdef region_spec regions_of(const int64_t[::1] begin, const double[:, ::1] runs, const int64_t[::1] further,
                            int64_t n_noise) except *:
    cdef int64_t R = begin.shape[0] - 1
    if (R < 1 or runs.shape[1] != 2 or begin[0] != 0 or begin[R] != runs.shape[0]
            or (np.diff(begin) < 0).any() or further.shape[0] != runs.shape[0]):
        raise ValueError("regions must be offsets that rise from 0 to the number of runs, runs of two "
                         "codes each, and a number for each run")
    cdef const code_run* first = NULL  # of none
    cdef const int64_t* first_further = NULL
    if runs.shape[0]:
        first, first_further = <const code_run*>&runs[0, 0], &further[0]
    return region_spec(first, &begin[0], first_further, n_noise)


def choose(draw, int64_t d, floating[:, ::1] raw, const floating[:, ::1] noise, held, floating[::1] codes,
           double[::1] weight):
    """Draw feature d's codes (n,) by its outputs raw (n, P), which are used up, and noise (n, m).

    draw: what a `Kernel` gave. held (n,): where OBSERVED or WEIGHTED a code stays, and where WEIGHTED log p of
    it is added to weight (n,); a BOUNDED code is drawn within the region whose number it is, and log p of the
    region is added. None for SAMPLED everywhere.
    """
    cdef int64_t n = raw.shape[0], P = raw.shape[1], m = noise.shape[1], r
    cdef const uint8_t[::1] flag = held
    cdef floating[::1] drawn = aligned_empty((max(1, n),), np.float32 if floating is float else np.float64)
    if (noise.shape[0] != n or codes.shape[0] != n or weight.shape[0] != n
            or (held is not None and flag.shape[0] != n)):
        raise ValueError("the shapes of raw, noise, held, codes and weight do not fit together")
    if n == 0:
        return
    cdef const uint8_t* flags = NULL
    if held is not None:
        flags = &flag[0]
    cdef draw_spec how = draw_of(draw, floating is double)
    if how.n_noise != m:
        raise ValueError("noise does not fit the draw")
    if how.spec.outputs[d + 1] - how.spec.outputs[d] > P:
        raise ValueError("raw must have a column for each output of the feature")
    if how.spec.features[d].parent > 0:
        raise ValueError("a feature on which another one decides cannot be drawn alone")
    with nogil:
        if flags != NULL:
            how.weigh(n, 1, 0, d, how.spec, &raw[0, 0], P,
                      walked_rows(0, &noise[0, 0], flags, &codes[0], &weight[0]))
        how.function(n, d, how.spec, &raw[0, 0], P, &noise[0, 0], m, earlier_codes(NULL, 0, 0),
                     &drawn[0])
    for r in range(n):
        if flags == NULL or flags[r] == FASTAR_SAMPLED:
            codes[r] = drawn[r]
