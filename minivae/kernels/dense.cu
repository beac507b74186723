// The dense layer in CUDA C, float32: for large products what comes before and after cuBLAS's product, and for small ones, where
// cuBLAS's overhead would dominate, the product as well.  Compiled together with kernels.cu and product.cu, which come first.

// ---- Activations that come with a layer: those whose slope follows from their result ----------------------------------------------

enum { IDENTITY, RELU, TANH };

__device__ float activate(int kind, float x) { return kind == RELU ? relu_value(x) : kind == TANH ? tanh_value(x) : x; }
__device__ float slope_of(int kind, float out) { return kind == RELU ? relu_slope(out) : kind == TANH ? tanh_slope(out) : 1.0f; }

// ---- Before or after a large product: one pass each ---------------------------------------------------------------------------------

// Sums of columns, a block taking 32 of them.  The rows are split into `chunks` chunks, and each chunk has a block of its own.  A
// thread adds up every slots-th row of its chunk, loading four at a time; the sums of a column's threads are added in order, and the
// last block to finish these columns adds the chunks in order.  `partial` has a number for every chunk and column, `done` one for
// every 32 columns.
template <typename Term>
__device__ void sum_columns(Term term, float* out, double* partial, u32* done, int n, int m, int chunks) {
    __shared__ double shared[32][33];  // one extra column, so that no two rows start in the same memory bank
    __shared__ bool last;
    int lane = threadIdx.x % 32, slot = threadIdx.x / 32, slots = blockDim.x / 32;
    int across = (m + 31) / 32, strip = blockIdx.x % across, chunk = blockIdx.x / across, j = strip * 32 + lane;
    int rows = (n + chunks - 1) / chunks, stop = min(n, (chunk + 1) * rows);
    double sum = 0;
    if (j < m)
#pragma unroll 4
        for (int i = chunk * rows + slot; i < stop; i += slots) sum += term(i, j);
    shared[slot][lane] = sum;
    __syncthreads();
    if (slot == 0 && j < m) {
        for (int other = 1; other < slots; ++other) sum += shared[other][lane];
        partial[chunk * m + j] = sum;
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(done + strip, 1) == (u32)chunks - 1;
        if (last) done[strip] = 0;
    }
    __syncthreads();
    __threadfence();
    if (last && slot == 0 && j < m) {
        sum = 0;
        for (int other = 0; other < chunks; ++other) sum += partial[other * m + j];
        out[j] = (float)sum;
    }
}

// db_j = sum_i g_ij
KERNEL column_sum(const float* g, float* out, double* partial, u32* done, int n, int m, int chunks) {
    sum_columns([=](int i, int j) { return g[(size_t)i * m + j]; }, out, partial, done, n, m, chunks);
}

// dx_ij = g_ij slope(out_ij)  and  db_j = sum_i dx_ij,  from one pass
KERNEL activation_backward_sum(const float* out, const float* g, float* dx, float* db, double* partial, u32* done, int n, int m,
                               int chunks, int kind) {
    auto term = [=](int i, int j) {
        size_t at = (size_t)i * m + j;
        return dx[at] = g[at] * slope_of(kind, out[at]);
    };
    sum_columns(term, db, partial, done, n, m, chunks);
}

// The transpose: out_ji = x_ij.  A block moves 64 x 64 numbers through shared memory, so that it both reads and writes along rows,
// four numbers at a time.
#define SQUARE 64

KERNEL transpose(const float* x, float* out, int n, int m) {
    __shared__ float tile[SQUARE][SQUARE + 1];
    int across = (m + SQUARE - 1) / SQUARE, top = blockIdx.x / across * SQUARE, left = blockIdx.x % across * SQUARE;
#pragma unroll 2
    for (int at = threadIdx.x; at < SQUARE * SQUARE / 4; at += blockDim.x) {
        int i = at / (SQUARE / 4), j = at % (SQUARE / 4) * 4;
        if (top + i >= n) continue;
        Four four = load_four(x + (size_t)(top + i) * m, left + j, m);
        EACH_OF_FOUR(c) tile[i][j + c] = four[c];
    }
    __syncthreads();
#pragma unroll 2
    for (int at = threadIdx.x; at < SQUARE * SQUARE / 4; at += blockDim.x) {
        int j = at / (SQUARE / 4), i = at % (SQUARE / 4) * 4;
        if (left + j >= m) continue;
        store_four(out + (size_t)(left + j) * n, top + i, n, {{tile[i][j], tile[i + 1][j], tile[i + 2][j], tile[i + 3][j]}});
    }
}

// ---- Small products, with the whole layer around them ---------------------------------------------------------------------------

// y = activation(x W + b)
KERNEL __launch_bounds__(THREADS, 1) layer(const float* x, const float* weight, const float* bias, float* y, int n, int m, int d,
                                           int kind) {
    __shared__ float4 stage[STAGE / 4];
    Matrix a = {x, n, d}, b = {weight, d, m};
    product<false, false>(a, b, n, m, d, (float*)stage, everyone(), [=](int i, int j, Four sums) {
        Four offset = load_four(bias, j, m);
        EACH_OF_FOUR(c) sums[c] = activate(kind, sums[c] + offset[c]);
        store_four(y + i * m, j, m, sums);
    });
}

// From g, the gradient of x W + b:  dx = g W',  dW = x' g,  db = 1' g,  where db is the row of x' g for the ones beside x.
// dx is computed only if it is needed.  One launch computes all three, since none depends on another.
KERNEL __launch_bounds__(THREADS, 1) layer_backward(const float* x, const float* weight, const float* g, float* dx, float* d_weight,
                                                    float* d_bias, int n, int m, int d, int wants_dx) {
    __shared__ float4 stage[STAGE / 4];
    Matrix slope = {g, n, m}, w = {weight, d, m}, with_ones = {x, n, d, true};
    Blocks crew = {0, 0}, other = everyone();
    if (wants_dx) {
        divide(tiles_of(n, d) * m, tiles_of(d + 1, m) * n, crew, other);
        product<false, true>(slope, w, n, d, m, (float*)stage, crew, [=](int i, int j, Four sums) {
            store_four(dx + i * d, j, d, sums);
        });
    }
    product<true, false>(with_ones, slope, d + 1, m, n, (float*)stage, other, [=](int i, int j, Four sums) {
        store_four(i < d ? d_weight + i * m : d_bias, j, m, sums);
    });
}
