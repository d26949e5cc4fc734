"""Log-densities, gradients and draws of the output distributions."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, int64_t, uint8_t

from conditionals cimport walked_f32, walked_f64

import numpy as np

from fastar._kernels._cpu import aligned_empty, isa

cdef extern from "conditionals.h" nogil:
    int FASTAR_COMPONENTS, FASTAR_FREE, FASTAR_HELD, FASTAR_WEIGHED
    ctypedef struct feature_spec:
        int32_t kind, count
        double unit, floor, low, high
    ctypedef struct conditional_spec:
        const feature_spec* features
        int64_t n_stretches
        const int32_t* stretches
        int may_miss
        double temperature
    ctypedef void (*draw_function_f32)(int64_t, int64_t, conditional_spec, float*, int64_t, const float*,
                                       int64_t, float*) noexcept nogil
    ctypedef void (*draw_function_f64)(int64_t, int64_t, conditional_spec, double*, int64_t, const double*,
                                       int64_t, double*) noexcept nogil
    ctypedef void (*weigh_function_f32)(int64_t, int64_t, int64_t, int64_t, conditional_spec, const float*,
                                        int64_t, walked_f32) noexcept nogil
    ctypedef struct draw_f32:
        draw_function_f32 function
        weigh_function_f32 weigh
        int64_t n_noise
        conditional_spec spec
    ctypedef void (*weigh_function_f64)(int64_t, int64_t, int64_t, int64_t, conditional_spec, const double*,
                                        int64_t, walked_f64) noexcept nogil
    ctypedef struct draw_f64:
        draw_function_f64 function
        weigh_function_f64 weigh
        int64_t n_noise
        conditional_spec spec
    ctypedef struct conditionals_f32:
        void (*log_prob)(int64_t, int64_t, int64_t, conditional_spec, const float*, const float*, float*,
                         double*) noexcept nogil
        void (*gradient)(int64_t, int64_t, int64_t, conditional_spec, const float*, const float*,
                         const float*, float*, double*, float*) noexcept nogil
        draw_function_f32 draw
        draw_function_f32 mode
        weigh_function_f32 weigh
    ctypedef struct conditionals_f64:
        void (*log_prob)(int64_t, int64_t, int64_t, conditional_spec, const double*, const double*, double*,
                         double*) noexcept nogil
        void (*gradient)(int64_t, int64_t, int64_t, conditional_spec, const double*, const double*,
                         const double*, double*, double*, double*) noexcept nogil
        draw_function_f64 draw
        draw_function_f64 mode
        weigh_function_f64 weigh
    const conditionals_f32* conditionals_f32_for(int isa)
    const conditionals_f64* conditionals_f64_for(int isa)

cdef const conditionals_f32* f32 = conditionals_f32_for(isa)
cdef const conditionals_f64* f64 = conditionals_f64_for(isa)

KINDS = ("bernoulli", "categorical", "gaussian", "laplace", "gaussian_mixture", "laplace_mixture",
         "logistic_mixture", "poisson", "negative_binomial")
OUTPUTS = (1, 1, 2, 2, 3, 3, 3, 1, 2)  # of a feature of each kind, of each of its levels or components
MIXTURES = [place for place, kind in enumerate(KINDS) if kind.endswith("_mixture")]
MAX_COMPONENTS = FASTAR_COMPONENTS
FREE, HELD, WEIGHED = FASTAR_FREE, FASTAR_HELD, FASTAR_WEIGHED  # what a walk does with a code; HELD is 0
FEATURE = np.dtype([("kind", np.int32), ("count", np.int32), ("unit", np.float64), ("floor", np.float64),
                    ("low", np.float64), ("high", np.float64)])


cdef void free_draw(object capsule) noexcept:
    cdef const char* name = (b"fastar.draw_f32" if PyCapsule_IsValid(capsule, b"fastar.draw_f32")
                             else b"fastar.draw_f64")
    PyMem_Free(PyCapsule_GetPointer(capsule, name))
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef extern from "Python.h":
    bint PyCapsule_IsValid(object, const char*)


cdef class Kernel:
    """The compiled side of a table's conditionals.

    Parameters
    ----------
    features : array (D,) of FEATURE
        What each feature's density is: its place in KINDS, the count of its levels or components, the
        unit of its codes and the floor of its variance or scale.
    n_noise : int
        Numbers that one draw uses up.
    may_miss : bool
        Codes may be NaN; these have no density.
    """

    cdef readonly int64_t n_noise
    cdef int64_t n_outputs
    cdef object features
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
        count = np.where(is_counted, features["count"].astype(np.int64), 1)
        self.n_outputs = (np.array(OUTPUTS)[features["kind"]] * count).max()
        self.features = features
        self.n_noise = n_noise
        self.may_miss = may_miss
        starts = np.ones(len(features), bool)
        same = features[["kind", "floor"]]
        starts[1:] = same[1:] != same[:-1]
        self.stretches = np.append(np.flatnonzero(starts), len(features)).astype(np.int32)

    cdef conditional_spec spec(self, double temperature):
        cdef const unsigned char[::1] features = self.features.view(np.uint8)
        return conditional_spec(<const feature_spec*>&features[0], self.stretches.shape[0] - 1,
                                &self.stretches[0], self.may_miss, temperature)

    cdef check(self, int64_t n, int64_t D, int64_t P, codes):
        if codes.shape[0] != n or codes.shape[1] != D:
            raise ValueError("raw and codes differ in shape")
        if len(self.features) != D:
            raise ValueError("raw and features differ in the number of features")
        if P < self.n_outputs:
            raise ValueError(f"raw must have {self.n_outputs} outputs a feature. Got {P} instead.")

    def log_prob(self, const floating[:, :, ::1] raw, const floating[:, ::1] codes, int n_threads):
        """Return logp (n, D) and its row sums (n,) in double precision."""
        cdef int64_t n = raw.shape[0], D = raw.shape[1], P = raw.shape[2], r
        self.check(n, D, P, codes)
        cdef floating[:, ::1] logp = aligned_empty((n, D), np.float32 if floating is float else np.float64)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for r in prange(n, nogil=True, num_threads=n_threads):
            if floating is float:
                f32.log_prob(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &logp[r, 0], &total[r])
            else:
                f64.log_prob(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &logp[r, 0], &total[r])
        return logp.base, total.base

    def gradient(self, const floating[:, :, ::1] raw, const floating[:, ::1] codes,
                 const floating[::1] scale, int n_threads):
        """Return the row sums of logp (n,) and scale[r] * d logp / d raw (n, D, P)."""
        cdef int64_t n = raw.shape[0], D = raw.shape[1], P = raw.shape[2], r
        self.check(n, D, P, codes)
        if scale.shape[0] != n:
            raise ValueError("raw and scale differ in the number of rows")
        dtype = np.float32 if floating is float else np.float64
        cdef floating[:, ::1] logp = aligned_empty((n_threads, D), dtype)
        cdef floating[:, :, ::1] graw = aligned_empty((n, D, P), dtype)
        cdef double[::1] total = np.empty(n)
        cdef conditional_spec spec = self.spec(1)
        for r in prange(n, nogil=True, num_threads=n_threads):
            if floating is float:
                f32.gradient(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &scale[r],
                             &logp[threadid(), 0], &total[r], &graw[r, 0, 0])
            else:
                f64.gradient(1, D, P, spec, &raw[r, 0, 0], &codes[r, 0], &scale[r],
                             &logp[threadid(), 0], &total[r], &graw[r, 0, 0])
        return total.base, graw.base

    def draw(self, dtype, double temperature):
        """Return the capsule with which a network draws values of this conditional.

        It points into this object, which lives as long as the capsule.
        """
        return self.capsule(dtype, temperature, self.n_noise, 0)

    def mode(self, dtype):
        """Return the capsule with which a network takes the most probable code between two.

        These bounds stand in for the noise of each feature. It points into this object, which lives as long.
        """
        return self.capsule(dtype, 1, 2, 1)

    cdef capsule(self, dtype, double temperature, int64_t n_noise, bint mode):
        cdef draw_f32* draw32
        cdef draw_f64* draw64
        if dtype == np.float32:
            draw32 = <draw_f32*>PyMem_Malloc(sizeof(draw_f32))
            if draw32 == NULL:
                raise MemoryError()
            draw32[0] = draw_f32(f32.draw, f32.weigh, n_noise, self.spec(temperature))
            if mode:
                draw32.function = f32.mode
            return self.kept_by(PyCapsule_New(draw32, "fastar.draw_f32", free_draw))
        draw64 = <draw_f64*>PyMem_Malloc(sizeof(draw_f64))
        if draw64 == NULL:
            raise MemoryError()
        draw64[0] = draw_f64(f64.draw, f64.weigh, n_noise, self.spec(temperature))
        if mode:
            draw64.function = f64.mode
        return self.kept_by(PyCapsule_New(draw64, "fastar.draw_f64", free_draw))

    cdef kept_by(self, capsule):
        Py_INCREF(self)
        PyCapsule_SetContext(capsule, <void*>self)
        return capsule


def choose(draw, int64_t d, floating[:, ::1] raw, const floating[:, ::1] noise, held, floating[::1] codes,
           double[::1] weight):
    """Draw feature d's codes (n,) by its outputs raw (n, P), which are used up, and noise (n, m).

    draw: what a `Kernel` gave. held (n,): where not FREE a code stays, and where WEIGHED log p of it is added
    to weight (n,); None for FREE everywhere.
    """
    cdef int64_t n = raw.shape[0], P = raw.shape[1], m = noise.shape[1], r
    cdef const uint8_t[::1] flag = held
    cdef floating[::1] drawn = aligned_empty((max(1, n),), np.float32 if floating is float else np.float64)
    cdef draw_f32* draw32
    cdef draw_f64* draw64
    if (noise.shape[0] != n or codes.shape[0] != n or weight.shape[0] != n
            or (held is not None and flag.shape[0] != n)):
        raise ValueError("the shapes of raw, noise, held, codes and weight do not fit together")
    if n == 0:
        return
    cdef const uint8_t* flags = NULL if held is None else &flag[0]
    if floating is float:
        draw32 = <draw_f32*>PyCapsule_GetPointer(draw, "fastar.draw_f32")
        if draw32.n_noise != m:
            raise ValueError("noise does not fit the draw")
        with nogil:
            if flags != NULL:
                draw32.weigh(n, 1, 0, d, draw32.spec, &raw[0, 0], P,
                             walked_f32(0, &noise[0, 0], flags, &codes[0], &weight[0]))
            draw32.function(n, d, draw32.spec, &raw[0, 0], P, &noise[0, 0], m, &drawn[0])
    else:
        draw64 = <draw_f64*>PyCapsule_GetPointer(draw, "fastar.draw_f64")
        if draw64.n_noise != m:
            raise ValueError("noise does not fit the draw")
        with nogil:
            if flags != NULL:
                draw64.weigh(n, 1, 0, d, draw64.spec, &raw[0, 0], P,
                             walked_f64(0, &noise[0, 0], flags, &codes[0], &weight[0]))
            draw64.function(n, d, draw64.spec, &raw[0, 0], P, &noise[0, 0], m, &drawn[0])
    for r in range(n):
        if flags == NULL or flags[r] == FASTAR_FREE:
            codes[r] = drawn[r]
