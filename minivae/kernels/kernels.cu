// The memory-bound parts of a training step in CUDA C, float32.
//
// Each kernel is the twin of the NumPy code that its comment names; the tags in brackets are the equations, which are derived there.
// A kernel reads its arrays once and writes its results once, because memory bandwidth limits it and not arithmetic.
//
// Arrays are dense and row-major; where rows may be further apart, a `stride` in floats says how far.  Two shapes of launch:
//   elementwise: any grid covers n numbers, each thread taking four neighbours, in one access of 16 bytes where aligned;
//   by rows:     a block takes a row and adds it up in a fixed order in float64: equal inputs give equal sums, bit for bit.
//
// Compiled by NVRTC (CuPy) or nvcc, and as C++ by the tests, which run every kernel on the CPU.  CuPy compiles everything with
// -ftz=true, including its own functions: a float32 below 1.2e-38 is treated as 0.

#define KERNEL extern "C" __global__ void
#define FOR_EACH(i, n) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += gridDim.x * blockDim.x)
#define FOR_EACH_FOUR(i, n) for (int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x); i < (n); i += 4 * gridDim.x * blockDim.x)
#define FOR_EACH_FOUR_OF_ROWS(i, j, n, k)                                                                           \
    for (int across = ((k) + 3) / 4, at = blockIdx.x * blockDim.x + threadIdx.x, i = at / across, j = at % across * 4; \
         at < (n) * across; at += gridDim.x * blockDim.x, i = at / across, j = at % across * 4)
#define EACH_OF_FOUR(j) for (int j = 0; j < 4; ++j)
#define FOR_EACH_ROW(i, n) for (int i = blockIdx.x; i < (n); i += gridDim.x)
#define FOR_EACH_COLUMN(j, d) for (int j = threadIdx.x; j < (d); j += blockDim.x)

typedef unsigned int u32;
typedef unsigned long long u64;

// The sum of every thread's value, in thread 0: within a warp by halving, then over the warps in order.
__device__ double block_sum(double value) {
    __shared__ double partial[32];
    for (int half = 16; half > 0; half /= 2) value += __shfl_down_sync(0xffffffffu, value, half);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < (int)blockDim.x / 32; ++warp) total += partial[warp];
    __syncthreads();  // the next row's partial sums must not overwrite this row's before they are read
    return total;
}

// Four neighbours of an array, or fewer at its end.
struct Four {
    float v[4];
    __device__ float& operator[](int j) { return v[j]; }
};

__device__ bool is_wide(const void* at) { return (u64)at % 16 == 0; }

__device__ Four load_four(const float* from, int i, int n) {
    Four four = {{0, 0, 0, 0}};
    if (i + 3 < n && is_wide(from + i)) {
        float4 wide = *(const float4*)(from + i);
        return {{wide.x, wide.y, wide.z, wide.w}};
    }
    EACH_OF_FOUR(j) if (i + j < n) four[j] = from[i + j];
    return four;
}

__device__ void store_four(float* to, int i, int n, Four four) {
    if (i + 3 < n && is_wide(to + i)) *(float4*)(to + i) = {four[0], four[1], four[2], four[3]};
    else EACH_OF_FOUR(j) if (i + j < n) to[i + j] = four[j];
}

// Tell all threads of a block whether it is the last to arrive here; `done` counts the arrivals and is 0 again at the end.
// The last block sees everything that the others wrote before they arrived.
__device__ bool is_last_block(u32* done) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(done, 1) == gridDim.x - 1;
        if (last) *done = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}

// ---- Batches: the rows of the next one, Rows.take -----------------------------------------------------------------------------------

// Copy the next n row numbers of an order, and advance the position.  One block.
KERNEL next_rows(const long long* order, long long* place, long long* index, int n) {
    long long first = *place;
    for (int i = threadIdx.x; i < n; i += blockDim.x) index[i] = order[first + i];
    __syncthreads();
    if (threadIdx.x == 0) *place = first + n;
}

// Gather rows of 8-bit pixels by their numbers, as value / 255.
KERNEL gather(const unsigned char* pixels, const long long* index, float* out, int n, int d) {
    FOR_EACH_FOUR(i, n * d) {
        Four four;
        EACH_OF_FOUR(j) four[j] = i + j < n * d ? pixels[index[(i + j) / d] * d + (i + j) % d] / 255.0f : 0.0f;
        store_four(out, i, n * d, four);
    }
}

// ---- Activations: a value from x, and a slope from what the forward saved --------------------------------------------------------

#define ACTIVATION(name, VALUE, SAVED, SLOPE)                                                                    \
    __device__ float name##_value(float x) { return VALUE; }                                                     \
    __device__ float name##_slope(float SAVED) { return SLOPE; }                                                 \
    KERNEL name##_forward(const float* in, float* out, int n) {                                                  \
        FOR_EACH_FOUR(i, n) {                                                                                    \
            Four x = load_four(in, i, n), y;                                                                     \
            EACH_OF_FOUR(j) y[j] = name##_value(x[j]);                                                           \
            store_four(out, i, n, y);                                                                            \
        }                                                                                                        \
    }                                                                                                            \
    KERNEL name##_backward(const float* saved, const float* g, float* dx, int n) {                               \
        FOR_EACH_FOUR(i, n) {                                                                                    \
            Four kept = load_four(saved, i, n), from = load_four(g, i, n), to;                                   \
            EACH_OF_FOUR(j) to[j] = from[j] * name##_slope(kept[j]);                                             \
            store_four(dx, i, n, to);                                                                            \
        }                                                                                                        \
    }

__device__ float logistic(float x) {  // max(u, [x > 0]) / (1 + u) with u = e^-|x|
    float u = expf(-fabsf(x));
    return (x > 0 ? 1.0f : u) / (1 + u);
}

__device__ float logistic_slope(float x) {  // u / (1 + u)^2
    float u = expf(-fabsf(x));
    return u / ((1 + u) * (1 + u));
}

ACTIVATION(relu, x < 0 ? 0.0f : x, out, out > 0 ? 1.0f : 0.0f)  // a NaN is not < 0, so it passes
ACTIVATION(tanh, tanhf(x), out, (1 - out) * (1 + out))
ACTIVATION(sigmoid, logistic(x), x, logistic_slope(x))
ACTIVATION(softplus, (x < 0 ? 0.0f : x) + log1pf(expf(-fabsf(x))), x, logistic(x))

// ---- bernoulli_nll (L.1) -----------------------------------------------------------------------------------------------------

// One pixel's ([l > 0] - x) l + log(1 + u), and its slope sigmoid(l) - x: value and gradient from one u = e^-|l|.
__device__ float bernoulli(float pixel, float l, float& slope) {
    float u = expf(-fabsf(l)), side = l > 0 ? 1.0f : 0.0f;
    slope = (l > 0 ? 1.0f : u) / (1 + u) - pixel;
    return (side - pixel) * l + log1pf(u);                               // (L.1)
}

// nll_i, the sum over the pixels of a row, and slope_ij, in one pass.
// Row i of the logits is scored against row i % x_rows of x, so several samples can share one x.
KERNEL bernoulli_nll(const float* x, const float* logits, float* nll, float* slope, int n, int x_rows, int d) {
    FOR_EACH_ROW(i, n) {
        double sum = 0;
        for (int j = 4 * threadIdx.x; j < d; j += 4 * blockDim.x) {
            Four pixel = load_four(x + i % x_rows * d, j, d), l = load_four(logits + i * d, j, d), to;
            EACH_OF_FOUR(c) if (j + c < d) sum += bernoulli(pixel[c], l[c], to[c]);
            store_four(slope + i * d, j, d, to);
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) nll[i] = (float)sum;
    }
}

// dl_ij = g_i slope_ij
KERNEL scale_rows(const float* g, int g_stride, const float* slope, float* out, int n, int d) {
    FOR_EACH_FOUR(i, n * d) {
        Four four = load_four(slope, i, n * d);
        EACH_OF_FOUR(j) four[j] *= g[min((i + j) / d, n - 1) * g_stride];
        store_four(out, i, n * d, four);
    }
}

// ---- reparameterize (R.1, R.2) -----------------------------------------------------------------------------------------------

// z = mean + sigma noise,  sigma = exp(log_var / 2)
KERNEL reparameterize(const float* mean, int mean_stride, const float* log_var, int log_var_stride, const float* noise, float* z,
                      float* scaled_noise, int n, int k) {
    FOR_EACH_FOUR_OF_ROWS(i, j, n, k) {
        Four m = load_four(mean + i * mean_stride, j, k), s = load_four(log_var + i * log_var_stride, j, k);
        Four spread = load_four(noise + i * k, j, k), to;
        EACH_OF_FOUR(c) {
            spread[c] *= expf(0.5f * s[c]);
            to[c] = m[c] + spread[c];                                    // (R.1)
        }
        store_four(scaled_noise + i * k, j, k, spread);
        store_four(z + i * k, j, k, to);
    }
}

// The backward pass for mean and log_var in one matrix, as the encoder computes them: its gradient is [g | g sigma noise / 2]
KERNEL reparameterize_backward_heads(const float* g, const float* scaled_noise, float* d_heads, int n, int k) {
    FOR_EACH_FOUR_OF_ROWS(i, j, n, k) {
        Four from = load_four(g + i * k, j, k), spread = load_four(scaled_noise + i * k, j, k);
        EACH_OF_FOUR(c) spread[c] *= 0.5f * from[c];                     // (R.2)
        store_four(d_heads + i * 2 * k, j, k, from);
        store_four(d_heads + i * 2 * k + k, j, k, spread);
    }
}

// dlog_var = g sigma noise / 2; the gradient of the mean is g itself
KERNEL reparameterize_backward(const float* g, const float* scaled_noise, float* d_log_var, int n) {
    FOR_EACH_FOUR(i, n) {
        Four from = load_four(g, i, n), spread = load_four(scaled_noise, i, n);
        EACH_OF_FOUR(c) spread[c] *= 0.5f * from[c];                     // (R.2)
        store_four(d_log_var, i, n, spread);
    }
}

// ---- kl_standard_normal (K.1, K.2) -------------------------------------------------------------------------------------------

// e^s - 1 - s, from its series where the subtraction would cancel
__device__ double excess(double s) {
    return fabs(s) < 1e-3 ? s * s * (1.0 / 2 + s * (1.0 / 6 + s * (1.0 / 24 + s / 120))) : expm1(s) - s;
}

// kl_i = 1/2 sum_j [mean^2 + h(log_var)],  h(s) = e^s - 1 - s
KERNEL kl_standard_normal(const float* mean, int mean_stride, const float* log_var, int log_var_stride, float* kl, int n, int k) {
    FOR_EACH_ROW(i, n) {
        double sum = 0;
        FOR_EACH_COLUMN(j, k) {
            double m = mean[i * mean_stride + j];
            sum += m * m + excess(log_var[i * log_var_stride + j]);
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) kl[i] = (float)(0.5 * sum);                // (K.1)
    }
}

// dmean = g mean,  dlog_var = g (e^log_var - 1) / 2
KERNEL kl_standard_normal_backward(const float* g, int g_stride, const float* mean, int mean_stride, const float* log_var,
                                   int log_var_stride, float* d_mean, float* d_log_var, int out_stride, int n, int k) {
    FOR_EACH_FOUR_OF_ROWS(i, j, n, k) {
        float g_row = g[i * g_stride];
        Four m = load_four(mean + i * mean_stride, j, k), s = load_four(log_var + i * log_var_stride, j, k);
        EACH_OF_FOUR(c) {
            m[c] *= g_row;
            s[c] = 0.5f * g_row * expm1f(s[c]);                          // (K.2)
        }
        store_four(d_mean + i * out_stride, j, k, m);
        store_four(d_log_var + i * out_stride, j, k, s);
    }
}

// ---- Terms: their mean, and their sums over an epoch ---------------------------------------------------------------------------

// The mean of n numbers.  One block.
KERNEL mean(const float* x, float* out, int n) {
    double sum = 0;
    FOR_EACH_COLUMN(i, n) sum += x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *out = (float)(sum / n);
}

// totals_t += examples * mean of term t, for up to four terms, each with its own length.  One block for each term.
KERNEL add_terms(const float* a, int n_a, const float* b, int n_b, const float* c, int n_c, const float* d, int n_d, double* totals,
                 double examples) {
    int t = blockIdx.x, n = t == 0 ? n_a : t == 1 ? n_b : t == 2 ? n_c : n_d;
    const float* term = t == 0 ? a : t == 1 ? b : t == 2 ? c : d;
    double sum = 0;
    FOR_EACH_COLUMN(i, n) sum += term[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) totals[t] += sum / n * examples;
}

// ---- Noise that is a function of its position: CounterGenerator (N.1 to N.3) -----------------------------------------------------

// Philox4x32-10: ten rounds that turn a counter of four words into four random ones, under a key of two.
__device__ void philox(u32 word[4], u64 seed) {
    u32 key[2] = {(u32)seed, (u32)(seed >> 32)};
    for (int round = 0; round < 10; ++round) {
        u64 p = (u64)0xD2511F53u * word[0], q = (u64)0xCD9E8D57u * word[2];
        word[0] = (u32)(q >> 32) ^ word[1] ^ key[0];
        word[1] = (u32)q;
        word[2] = (u32)(p >> 32) ^ word[3] ^ key[1];
        word[3] = (u32)p;                                                // (N.1)
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
}

// Numbers 4i to 4i + 3 come from the counter (i, draw, path, stream).  The last block to finish increments the draw.
KERNEL counter_uniform(float* out, u64* draw, u32* done, u32 path, u32 stream, u64 seed, int n) {
    u32 now = (u32)*draw;
    FOR_EACH(i, (n + 3) / 4) {
        u32 word[4] = {(u32)i, now, path, stream};
        philox(word, seed);
        Four four;
        EACH_OF_FOUR(j) four[j] = (word[j] >> 8) * 0x1p-24f;             // (N.2)
        store_four(out, 4 * i, n, four);
    }
    if (is_last_block(done) && threadIdx.x == 0) ++*draw;
}

// Four normal numbers, computed in float64 so that, rounded to float32, they equal those from NumPy's logarithm, sine and cosine.
__device__ Four four_normals(u32 i, u32 draw, u32 path, u32 stream, u64 seed) {
    u32 word[4] = {i, draw, path, stream};
    philox(word, seed);
    Four four;
    for (int j = 0; j < 4; j += 2) {
        double radius = sqrt(-2 * log((word[j] + 0.5) * 0x1p-32));
        double angle = 6.283185307179586 * ((word[j + 1] + 0.5) * 0x1p-32);
        four[j] = (float)(radius * cos(angle));                          // (N.3)
        four[j + 1] = (float)(radius * sin(angle));
    }
    return four;
}

KERNEL counter_normal(float* out, u64* draw, u32* done, u32 path, u32 stream, u64 seed, int n) {
    u32 now = (u32)*draw;
    FOR_EACH(i, (n + 3) / 4) store_four(out, 4 * i, n, four_normals(i, now, path, stream, seed));
    if (is_last_block(done) && threadIdx.x == 0) ++*draw;
}

// ---- Adam over the flat vector -----------------------------------------------------------------------------------------------

// With the sums M = m / (1 - beta1) and V = v / (1 - beta2), as in optim.py.
struct Adam {
    float keep1, keep2, rate, shift;

    // The powers are beta1^t and beta2^t, where t is the number of the step.
    __device__ Adam(double power1, double power2, double learning_rate, double beta1, double beta2, double eps) {
        double to_unbiased_root = sqrt((1 - beta2) / (1 - power2));
        keep1 = (float)beta1;
        keep2 = (float)beta2;
        rate = (float)(learning_rate * (1 - beta1) / (1 - power1) / to_unbiased_root);
        shift = (float)(eps / to_unbiased_root);
    }

    // Update numbers i to i + 3 of n.
    __device__ void update(float* values, float* sums, float* square_sums, int i, int n, Four g) const {
        Four value = load_four(values, i, n), sum = load_four(sums, i, n), square_sum = load_four(square_sums, i, n);
        EACH_OF_FOUR(j) {
            sum[j] = keep1 * sum[j] + g[j];
            square_sum[j] = keep2 * square_sum[j] + g[j] * g[j];
            value[j] -= rate * (sum[j] / (sqrtf(square_sum[j]) + shift));
        }
        store_four(values, i, n, value);
        store_four(sums, i, n, sum);
        store_four(square_sums, i, n, square_sum);
    }
};

// The number of the step and the learning rate are read from device memory, since a replayed step would otherwise repeat the values it
// was captured with; the last block to finish increments the number.
KERNEL adam(float* values, const float* gradients, float* sums, float* square_sums, long long* step, u32* done,
            const double* learning_rate, double beta1, double beta2, double eps, int n) {
    __shared__ float shared[sizeof(Adam) / 4];
    double t = (double)(*step + 1);
    if (threadIdx.x == 0) *(Adam*)shared = Adam(pow(beta1, t), pow(beta2, t), *learning_rate, beta1, beta2, eps);
    __syncthreads();
    Adam rule = *(Adam*)shared;
    FOR_EACH_FOUR(i, n) rule.update(values, sums, square_sums, i, n, load_four(gradients, i, n));
    if (is_last_block(done) && threadIdx.x == 0) ++*step;
}
