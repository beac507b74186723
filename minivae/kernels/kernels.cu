// The memory-bound parts of a training step in CUDA C, float32.
//
// Each kernel is the twin of the NumPy code that its comment names; the letters in brackets are the equations there, and that is
// where they are derived.  A kernel reads its arrays once and writes its results once: the GPU has arithmetic to spare, not bandwidth.
//
// Arrays are dense and row-major; where rows may be further apart, a `stride` in floats says how far.  Two shapes of launch:
//   elementwise: any grid covers n numbers;
//   by rows:     a block takes a row and adds it up in a fixed order in float64: the same numbers give the same sum, bit for bit.
//
// Compiled by NVRTC (CuPy) or nvcc, and as C++ by the tests, which run every kernel on the CPU.

#define KERNEL extern "C" __global__ void
#define FOR_EACH(i, n) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += gridDim.x * blockDim.x)
#define FOR_EACH_ROW(i, n) for (int i = blockIdx.x; i < (n); i += gridDim.x)
#define FOR_EACH_COLUMN(j, d) for (int j = threadIdx.x; j < (d); j += blockDim.x)

typedef unsigned int u32;
typedef unsigned long long u64;

// The sum of every thread's value, in thread 0.  Within a warp by halves, then the warps in order.
__device__ double block_sum(double value) {
    __shared__ double partial[32];
    for (int half = 16; half > 0; half /= 2) value += __shfl_down_sync(0xffffffffu, value, half);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0;
    if (threadIdx.x == 0)
        for (int warp = 0; warp < (int)blockDim.x / 32; ++warp) total += partial[warp];
    __syncthreads();  // the next row's partial sums must not come before this row's are read
    return total;
}

// ---- Batches: Rows.take -------------------------------------------------------------------------------------------------------

// Rows of 8-bit pixels by their numbers, as value / 255.
KERNEL gather(const unsigned char* pixels, const long long* index, float* out, int n, int d) {
    FOR_EACH(i, n * d) out[i] = pixels[index[i / d] * d + i % d] / 255.0f;
}

// ---- dense: what is not a matrix product --------------------------------------------------------------------------------------

// y_ij += b_j
KERNEL add_bias(float* y, const float* bias, int n, int m) {
    FOR_EACH(i, n * m) y[i] += bias[i % m];
}

// db_j = sum_i g_ij.  A block of 32 columns and several rows at a time: neighbouring threads read neighbouring columns.
KERNEL column_sum(const float* g, float* out, int n, int m) {
    __shared__ double partial[32][33];  // a column more than needed, so that no two rows start in the same memory bank
    int lane = threadIdx.x % 32, slot = threadIdx.x / 32, slots = blockDim.x / 32, j = blockIdx.x * 32 + lane;
    double sum = 0;
    if (j < m)
        for (int i = slot; i < n; i += slots) sum += g[i * m + j];
    partial[slot][lane] = sum;
    __syncthreads();
    if (slot == 0 && j < m) {
        for (int other = 1; other < slots; ++other) sum += partial[other][lane];
        out[j] = (float)sum;
    }
}

// ---- Activations: a value from x, and a slope from what the forward saved --------------------------------------------------------

#define ACTIVATION(name, VALUE, SAVED, SLOPE)                                                                    \
    KERNEL name##_forward(const float* in, float* out, int n) {                                                  \
        FOR_EACH(i, n) { float x = in[i]; out[i] = VALUE; }                                                      \
    }                                                                                                            \
    KERNEL name##_backward(const float* saved, const float* g, float* dx, int n) {                               \
        FOR_EACH(i, n) { float SAVED = saved[i]; dx[i] = g[i] * (SLOPE); }                                       \
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

// nll_i = sum_j ([l > 0] - x) l + log(1 + u),  slope_ij = sigmoid(l) - x:  value and gradient from one u = e^-|l|, in one pass.
// Row i of the logits is scored against row i % x_rows of x, so several samples can share one x.
KERNEL bernoulli_nll(const float* x, const float* logits, float* nll, float* slope, int n, int x_rows, int d) {
    FOR_EACH_ROW(i, n) {
        double sum = 0;
        FOR_EACH_COLUMN(j, d) {
            float pixel = x[i % x_rows * d + j], l = logits[i * d + j];
            float u = expf(-fabsf(l)), side = l > 0 ? 1.0f : 0.0f;
            sum += (side - pixel) * l + log1pf(u);                        // (L.1)
            slope[i * d + j] = (l > 0 ? 1.0f : u) / (1 + u) - pixel;
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) nll[i] = (float)sum;
    }
}

// dl_ij = g_i slope_ij
KERNEL scale_rows(const float* g, int g_stride, const float* slope, float* out, int n, int d) {
    FOR_EACH(i, n * d) out[i] = g[i / d * g_stride] * slope[i];
}

// ---- reparameterize (R.1, R.2) -----------------------------------------------------------------------------------------------

// z = mean + sigma noise,  sigma = exp(log_var / 2)
KERNEL reparameterize(const float* mean, int mean_stride, const float* log_var, int log_var_stride, const float* noise, float* z,
                      float* scaled_noise, int n, int k) {
    FOR_EACH(i, n * k) {
        scaled_noise[i] = expf(0.5f * log_var[i / k * log_var_stride + i % k]) * noise[i];
        z[i] = mean[i / k * mean_stride + i % k] + scaled_noise[i];      // (R.1)
    }
}

// dlog_var = g sigma noise / 2; the gradient of the mean is g itself
KERNEL reparameterize_backward(const float* g, const float* scaled_noise, float* d_log_var, int n) {
    FOR_EACH(i, n) d_log_var[i] = 0.5f * g[i] * scaled_noise[i];         // (R.2)
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
                                   int log_var_stride, float* d_mean, float* d_log_var, int n, int k) {
    FOR_EACH(i, n * k) {
        float g_row = g[i / k * g_stride];
        d_mean[i] = g_row * mean[i / k * mean_stride + i % k];
        d_log_var[i] = 0.5f * g_row * expm1f(log_var[i / k * log_var_stride + i % k]);  // (K.2)
    }
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

// Numbers 4i to 4i + 3 come from the counter (i, draw, path, stream).
KERNEL counter_uniform(float* out, const u64* draw, u32 path, u32 stream, u64 seed, int n) {
    FOR_EACH(i, (n + 3) / 4) {
        u32 word[4] = {(u32)i, (u32)*draw, path, stream};
        philox(word, seed);
        for (int j = 0; j < 4 && 4 * i + j < n; ++j) out[4 * i + j] = (word[j] >> 8) * 0x1p-24f;  // (N.2)
    }
}

// In float64, so that rounding to float32 gives what NumPy's logarithm, sine and cosine round to.
KERNEL counter_normal(float* out, const u64* draw, u32 path, u32 stream, u64 seed, int n) {
    FOR_EACH(i, (n + 3) / 4) {
        u32 word[4] = {(u32)i, (u32)*draw, path, stream};
        philox(word, seed);
        for (int j = 0; j < 4; j += 2) {
            double radius = sqrt(-2 * log((word[j] + 0.5) * 0x1p-32));
            double angle = 6.283185307179586 * ((word[j + 1] + 0.5) * 0x1p-32);
            if (4 * i + j < n) out[4 * i + j] = (float)(radius * cos(angle));          // (N.3)
            if (4 * i + j + 1 < n) out[4 * i + j + 1] = (float)(radius * sin(angle));
        }
    }
}

// ---- Adam over the flat vector -----------------------------------------------------------------------------------------------

// With the sums M = m / (1 - beta1) and V = v / (1 - beta2), as in optim.py.  The number of the step and the learning rate are read
// from the device, so that a captured step does not repeat those of its capture.
KERNEL adam(float* values, const float* gradients, float* sums, float* square_sums, const long long* step,
            const double* learning_rate, double beta1, double beta2, double eps, int n) {
    __shared__ float rate, shift;
    if (threadIdx.x == 0) {
        double to_unbiased_root = sqrt((1 - beta2) / (1 - pow(beta2, (double)*step)));
        rate = (float)(*learning_rate * (1 - beta1) / (1 - pow(beta1, (double)*step)) / to_unbiased_root);
        shift = (float)(eps / to_unbiased_root);
    }
    __syncthreads();
    float keep1 = (float)beta1, keep2 = (float)beta2;
    FOR_EACH(i, n) {
        float g = gradients[i];
        sums[i] = keep1 * sums[i] + g;
        square_sums[i] = keep2 * square_sums[i] + g * g;
        values[i] -= rate * (sums[i] / (sqrtf(square_sums[i]) + shift));
    }
}
