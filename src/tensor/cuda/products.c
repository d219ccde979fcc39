/* products.c: who computes a bf16 product: cuBLASLt, with one algorithm per weight shape, or our own kernels.
 *
 * Row-major c[rows, out] = a b^T is cuBLASLt's column-major C^T[out, rows] = b a^T, so `rows` is its n: no leading
 * dimension and no alignment depends on it. The algorithm is chosen once per (form, out, in), for CHOICE_ROWS rows,
 * from those that need no workspace and do not split k; it then serves every number of rows, so a row's sums are
 * the same chain whatever is computed beside it. make test-cuda holds that against rows 1 .. 1000 bit for bit.
 *
 * Our own kernels (product_own.c) are one chain for every number of rows too. With `auto`, a forward shape takes
 * the first of cuBLASLt's algorithms whose bits are ours (products_match.c): then few rows are ours, many are
 * cuBLASLt's, and nobody can tell. Where none is, all rows of the shape's forward are ours. The backward forms need
 * no agreement with decoding, so they are cuBLASLt's. */
#include "tensor/cuda/gpu.h"
#include "tensor/cuda/products.h"
#include "tensor/cuda/table.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CHOICE_ROWS = 4096, SHAPES_MAX = 512, CANDIDATES = 32, LOOSE_WORKSPACE = TR_CUDA_LOOSE_WORKSPACE };

#define FUNCTIONS(X)                                                                                               \
    X(Create)                                                                                                      \
    X(GetVersion)                                                                                                  \
    X(Matmul)                                                                                                      \
    X(MatmulAlgoGetHeuristic)                                                                                      \
    X(MatmulAlgoConfigGetAttribute)                                                                                \
    X(MatmulAlgoCheck)                                                                                             \
    X(MatmulDescCreate)                                                                                            \
    X(MatmulDescDestroy)                                                                                           \
    X(MatmulDescSetAttribute)                                                                                      \
    X(MatrixLayoutCreate)                                                                                          \
    X(MatrixLayoutDestroy)                                                                                         \
    X(MatmulPreferenceCreate)                                                                                      \
    X(MatmulPreferenceDestroy)                                                                                     \
    X(MatmulPreferenceSetAttribute)

static struct {
    void *library;
    cublasLtHandle_t handle;
#define X(name) __typeof__(&cublasLt##name) name;
    FUNCTIONS(X)
#undef X
} lt;

static bool load(void)
{
    char name[64];
    snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
    lt.library = lt.library ? lt.library : dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!lt.library) {
        return false;
    }
    void *found;
#define X(name)                                                                                                    \
    found = dlsym(lt.library, "cublasLt" #name);                                                                   \
    if (!found) {                                                                                                  \
        return false;                                                                                              \
    }                                                                                                              \
    memcpy(&lt.name, &found, sizeof found);
    FUNCTIONS(X)
#undef X
    return true;
}

int64_t tr_products_version(void)
{
    return load() ? (int64_t)lt.GetVersion() : 0;
}

tr_status tr_products_open(tr_error *err)
{
    tr_cuda_products mode;
    if (lt.handle) {
        return TR_OK;
    }
    tr_status checked = tr_cuda_products_mode(&mode, err);
    if (checked || mode == TR_CUDA_PRODUCTS_OWN) {
        return checked;
    }
    if (!load()) {
        return tr_fail(err, TR_UNSUPPORTED, "device",
                       "libcublasLt.so.%d was not found: dtype bf16 on a GPU needs it; install the CUDA %d runtime "
                       "libraries, or name their folder in LD_LIBRARY_PATH",
                       CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR);
    }
    cublasStatus_t status = lt.Create(&lt.handle);
    return status ? tr_fail(err, TR_UNSUPPORTED, "device", "cuBLASLt cannot start: status %d", (int)status) : TR_OK;
}

/* Working memory of algorithms that split k, one for each stream; only without exactness. NULL when there is none:
 * then the product is ours. */
static void *loose_workspace(void)
{
    enum { STREAMS = 4 };
    static struct {
        cudaStream_t stream;
        void *memory;
    } all[STREAMS];
    for (int i = 0; i < STREAMS; i++) {
        if (!all[i].memory) {
            all[i].stream = tr_gpu_stream();
            if (tr_cuda_take(&all[i].memory, LOOSE_WORKSPACE, false, NULL)) {
                all[i].memory = NULL;
                return NULL;
            }
        }
        if (all[i].stream == tr_gpu_stream()) {
            return all[i].memory;
        }
    }
    return NULL;
}

/* ---- one product ---- */

typedef struct problem {
    cublasLtMatmulDesc_t what;
    cublasLtMatrixLayout_t a, b, c;
} problem;

static void problem_free(problem *p)
{
    if (p->what) {
        lt.MatmulDescDestroy(p->what);
    }
    for (int i = 0; i < 3; i++) {
        cublasLtMatrixLayout_t layout = i == 0 ? p->a : i == 1 ? p->b : p->c;
        if (layout) {
            lt.MatrixLayoutDestroy(layout);
        }
    }
    memset(p, 0, sizeof *p);
}

/* Column-major, first operand first:
 * forward C^T[out, rows] = W[in, out]^T x[in, rows]; input C^T[in, rows] = W[in, out] dy[out, rows];
 * weight C^T[in, out] = x[in, rows] dy[out, rows]^T. */
static bool problem_make(problem *p, tr_cuda_form form, int64_t rows, int64_t out, int64_t in, const float *bias)
{
    const cublasOperation_t first = form == TR_CUDA_FORWARD ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = form == TR_CUDA_WEIGHT ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t bias_type = CUDA_R_32F;
    memset(p, 0, sizeof *p);
    cublasStatus_t s = lt.MatmulDescCreate(&p->what, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    s = s ? s : lt.MatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first);
    s = s ? s : lt.MatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second);
    if (bias && !s) {
        s = lt.MatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        s = s ? s
              : lt.MatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type,
                                          sizeof bias_type);
        s = s ? s : lt.MatmulDescSetAttribute(p->what, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    }
    const uint64_t m = (uint64_t)(form == TR_CUDA_FORWARD ? out : in),
                   n = (uint64_t)(form == TR_CUDA_WEIGHT ? out : rows);
    const uint64_t a_columns = (uint64_t)(form == TR_CUDA_WEIGHT ? rows : out),
                   b_rows = (uint64_t)(form == TR_CUDA_FORWARD ? in : out);
    s = s ? s : lt.MatrixLayoutCreate(&p->a, CUDA_R_16BF, (uint64_t)in, a_columns, in);
    s = s ? s : lt.MatrixLayoutCreate(&p->b, CUDA_R_16BF, b_rows, (uint64_t)rows, (int64_t)b_rows);
    s = s ? s : lt.MatrixLayoutCreate(&p->c, CUDA_R_32F, m, n, (int64_t)m);
    return s == CUBLAS_STATUS_SUCCESS;
}

static bool run(const problem *p, const cublasLtMatmulAlgo_t *algorithm, bool fresh, float *c, const uint16_t *a,
                const uint16_t *b, size_t workspace)
{
    const float one = 1.0f, beta = fresh ? 0.0f : 1.0f;
    void *work = workspace ? loose_workspace() : NULL;
    return !workspace == !work && lt.Matmul(lt.handle, p->what, &one, b, p->a, a, p->b, &beta, c, p->c, c, p->c,
                                            algorithm, work, workspace, tr_gpu_stream()) == CUBLAS_STATUS_SUCCESS;
}

/* ---- the choice ---- */

typedef struct choice {
    tr_cuda_form form;
    bool biased, usable;
    bool same; /* cuBLASLt's bits are those of our own kernels */
    int64_t out, in;
    int64_t rows; /* 0: for every number of rows; else (not exact) for numbers up to this one */
    int candidate, candidates;
    size_t workspace;
    cublasLtMatmulAlgo_t algorithm;
} choice;

static choice choices[SHAPES_MAX];
static int choice_count;
static pthread_mutex_t choosing = PTHREAD_MUTEX_INITIALIZER;

static bool splits(const cublasLtMatmulAlgo_t *algorithm)
{
    int32_t split = 0;
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    size_t written;
    cublasStatus_t s =
        lt.MatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, &written);
    s = s ? s
          : lt.MatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                            sizeof scheme, &written);
    return s || split > 1 || scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* Whether it takes one row as well: an algorithm that serves some numbers of rows only is of no use. */
static bool serves(const cublasLtMatmulAlgo_t *algorithm, const choice *c, const float *bias)
{
    problem one;
    cublasLtMatmulHeuristicResult_t result;
    bool good = problem_make(&one, c->form, 1, c->out, c->in, bias) &&
                lt.MatmulAlgoCheck(lt.handle, one.what, one.a, one.b, one.c, one.c, algorithm, &result) ==
                    CUBLAS_STATUS_SUCCESS &&
                result.workspaceSize == 0;
    problem_free(&one);
    return good || c->form == TR_CUDA_WEIGHT;
}

/* The heuristics' list, the fastest first by their estimate. Exact: without workspace and without a split of k. */
static int candidates_of(const choice *c, const float *bias, cublasLtMatmulHeuristicResult_t found[CANDIDATES])
{
    problem p;
    cublasLtMatmulPreference_t preference = NULL;
    const bool exact = c->rows == 0;
    const size_t workspace = exact ? 0 : LOOSE_WORKSPACE;
    const uint32_t schemes = exact ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_MASK;
    const uint32_t operand = c->in % 8 == 0 && c->out % 8 == 0 ? 16 : 2,
                   result = c->in % 4 == 0 && c->out % 4 == 0 ? 16 : 4;
    int count = 0;
    bool made = problem_make(&p, c->form, exact ? CHOICE_ROWS : c->rows, c->out, c->in, bias) &&
                !lt.MatmulPreferenceCreate(&preference);
    if (made) {
        const struct {
            cublasLtMatmulPreferenceAttributes_t name;
            const void *value;
            size_t size;
        } wishes[] = {
            {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
            {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &operand, sizeof operand},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &operand, sizeof operand},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &result, sizeof result},
            {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &result, sizeof result},
        };
        for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
            made = made &&
                   !lt.MatmulPreferenceSetAttribute(preference, wishes[i].name, wishes[i].value, wishes[i].size);
        }
    }
    if (made &&
        lt.MatmulAlgoGetHeuristic(lt.handle, p.what, p.a, p.b, p.c, p.c, preference, CANDIDATES, found, &count)) {
        count = 0;
    }
    if (preference) {
        lt.MatmulPreferenceDestroy(preference);
    }
    problem_free(&p);
    return count;
}

/* What products_match.c calls for one number of rows. */
typedef struct trial {
    const choice *c;
    const cublasLtMatmulAlgo_t *algorithm;
} trial;

static bool try_one(void *context, float *y, const uint16_t *x, const uint16_t *w, const float *bias, int64_t rows)
{
    const trial *t = context;
    problem p;
    bool good = problem_make(&p, TR_CUDA_FORWARD, rows, t->c->out, t->c->in, bias) &&
                run(&p, t->algorithm, true, y, x, w, 0);
    problem_free(&p);
    return good;
}

static void choose(choice *c, const float *bias, tr_cuda_products mode)
{
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    const int count = candidates_of(c, bias, found);
    const bool exact = c->rows == 0, match = exact && c->form == TR_CUDA_FORWARD && mode == TR_CUDA_PRODUCTS_AUTO;
    tr_match *against = match && count ? tr_match_open(c->out, c->in, c->biased) : NULL;
    for (int i = 0; i < count && !c->same; i++) {
        const cublasLtMatmulAlgo_t *algorithm = &found[i].algo;
        if (found[i].state != CUBLAS_STATUS_SUCCESS ||
            (exact && (splits(algorithm) || !serves(algorithm, c, bias)))) {
            continue;
        }
        trial t = {c, algorithm};
        c->same = against && tr_match_same(against, try_one, &t);
        c->candidates++;
        if (!c->usable || c->same) {
            c->usable = true;
            c->candidate = i;
            c->algorithm = *algorithm;
            c->workspace = exact ? 0 : found[i].workspaceSize;
        }
        if (!match) {
            break;
        }
    }
    tr_match_close(against);
}

/* The shape's choice, made when it first comes; NULL when the list is full. */
static const choice *choice_of(tr_cuda_form form, int64_t out, int64_t in, const float *bias, int64_t rows,
                               tr_cuda_products mode)
{
    const choice *found = NULL;
    pthread_mutex_lock(&choosing);
    for (int i = 0; i < choice_count && !found; i++) {
        const choice *c = &choices[i];
        if (c->form == form && c->out == out && c->in == in && c->biased == (bias != NULL) && c->rows == rows) {
            found = c;
        }
    }
    if (!found && choice_count < SHAPES_MAX) {
        choice *c = &choices[choice_count];
        *c = (choice){.form = form, .biased = bias != NULL, .out = out, .in = in, .rows = rows};
        choose(c, bias, mode);
        choice_count++;
        found = c;
    }
    pthread_mutex_unlock(&choosing);
    return found;
}

/* Without exactness: an algorithm for each power of two of rows. */
static int64_t loose_rows(int64_t rows)
{
    int64_t most = 8;
    while (most < rows) {
        most *= 2;
    }
    return most;
}

void tr_cuda_product_prepare(int64_t out, int64_t in)
{
    static const float bias; /* only its address: a choice depends on whether there is one */
    tr_cuda_products mode;
    if (lt.handle && !tr_cuda_exact()) {
        loose_workspace();
    } else if (lt.handle && !tr_cuda_products_mode(&mode, NULL) && mode == TR_CUDA_PRODUCTS_AUTO) {
        choice_of(TR_CUDA_FORWARD, out, in, NULL, 0, mode);
        choice_of(TR_CUDA_FORWARD, out, in, &bias, 0, mode);
    }
}

void tr_cuda_product_bf16(tr_cuda_form form, float *c, const uint16_t *a, const uint16_t *b, const float *bias,
                          int64_t rows, int64_t out, int64_t in)
{
    tr_cuda_products mode = TR_CUDA_PRODUCTS_OWN;
    if (rows <= 0) {
        return;
    }
    if (tr_cuda_products_mode(&mode, NULL) || mode == TR_CUDA_PRODUCTS_OWN || !lt.handle) {
        tr_cuda_product_own(form, c, a, b, bias, rows, out, in, -1);
        return;
    }
    const bool exact = tr_cuda_exact();
    const choice *chosen = choice_of(form, out, in, bias, exact ? 0 : loose_rows(rows), mode);
    const bool ours = exact && form == TR_CUDA_FORWARD && mode == TR_CUDA_PRODUCTS_AUTO;
    if (!chosen || !chosen->usable || (chosen->workspace && !loose_workspace()) ||
        (ours && (!chosen->same || rows <= TR_CUDA_FEW_ROWS))) {
        if (mode == TR_CUDA_PRODUCTS_CUBLASLT) {
            tr_cuda_product_fma(form, c, a, b, bias, rows, out, in);
        } else {
            tr_cuda_product_own(form, c, a, b, bias, rows, out, in, -1);
        }
        return;
    }
    problem p;
    bool good = problem_make(&p, form, rows, out, in, bias) &&
                run(&p, &chosen->algorithm, form == TR_CUDA_FORWARD, c, a, b, chosen->workspace);
    problem_free(&p);
    if (!good) {
        char message[128];
        snprintf(message, sizeof message, "cuBLASLt: no product for %lld rows of a %lld x %lld weight",
                 (long long)rows, (long long)out, (long long)in);
        tr_cuda_remember(message);
    }
}

int tr_cuda_products_chosen(tr_cuda_product_choice *list, int most)
{
    int count = 0;
    pthread_mutex_lock(&choosing);
    for (int i = 0; i < choice_count; i++) {
        const choice *c = &choices[i];
        if (c->form == TR_CUDA_FORWARD && c->rows == 0 && count < most) {
            list[count++] = (tr_cuda_product_choice){.out = c->out,
                                                     .in = c->in,
                                                     .biased = c->biased,
                                                     .same = c->same,
                                                     .candidate = c->usable ? c->candidate : -1,
                                                     .tried = c->candidates};
        }
    }
    pthread_mutex_unlock(&choosing);
    return count;
}
